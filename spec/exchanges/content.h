/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The octets of a body: a function of a seed and the offset, so that they are written and checked
 * piece by piece and never stored. Two seeds, or two offsets of one, give other octets.
 */
#pragma once

#include "base/str.h"

/* Writes the octets [offset, offset + count). */
void content_fill(uint64_t seed, uint64_t offset, char *to, size_t count);
/* How many of the bytes, from the first on, are the octets from offset on. */
size_t content_match(uint64_t seed, uint64_t offset, mg_str bytes);
