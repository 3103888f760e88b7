/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MG_FFI_EXPORT marks the definitions of the functions declared in ffi.h: the project is built with
 * -fvisibility=hidden, and ffi.C finds nothing but exported symbols.
 *
 *     MG_FFI_EXPORT int mg_ffi_sched_sleep(struct mg_vm *vm, double ms)
 *
 * ffi.h has declarations only (LuaJIT's parser has no preprocessor, so it has no include guard
 * either): a .c file includes it once, as the last of our headers, after those that define the
 * structs it names.
 */
#pragma once

#define MG_FFI_EXPORT __attribute__((visibility("default"), used))
