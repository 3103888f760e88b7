/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text of a peer made safe for a JSON string (RFC 8259, 7): quotes, backslashes and control
 * characters (DEL and U+0080-U+009F too, which terminals obey) are escaped, and each byte that is
 * not part of valid UTF-8 becomes U+FFFD. So no text can end the string or the line it stands in.
 *
 *     char out[64];
 *     size_t taken;
 *     size_t length = mg_escape_json(out, sizeof out, text, &taken);   // taken < text.len: cut
 */
#pragma once

#include "base/str.h"

#include <stdbool.h>

#define MG_ESCAPE_JSON_GROWTH 6 /* bytes that one byte of text can become, at most */

/* Writes the inside of the string (no quotes, no NUL) and returns its length. Stops before the
 * first character that does not fit in room; *taken is how many bytes of text were used. */
size_t mg_escape_json(char *out, size_t room, mg_str text, size_t *taken);

/* Copies a text of which no byte has to be escaped, printable ASCII without quotes and backslashes.
 * False: some of it may be written, and it has to be escaped. */
bool mg_escape_copy_plain(char *out, mg_str text);

/* The same for a text that is JSON already: of printable ASCII alone. */
bool mg_escape_copy_printable(char *out, mg_str text);

/* Bytes of the UTF-8 sequence (RFC 3629) that begins the text, 1 to 4, or 0 when the first byte
 * begins none. The text must not be empty. */
size_t mg_utf8_length(mg_str text);
