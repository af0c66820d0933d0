//! What the libraries' thread pools look for before they do without threads. Debian's C library for wasm lacks it, others have the same.
#![expect(unsafe_code, reason = "names for the linker")]

use std::ffi::c_void;

/// `ENOTSUP`.
const UNSUPPORTED: i32 = 58;

#[unsafe(no_mangle)]
extern "C" fn pthread_create(_: *mut c_void, _: *const c_void, _: *mut c_void, _: *mut c_void) -> i32 {
    UNSUPPORTED
}

#[unsafe(no_mangle)]
extern "C" fn pthread_detach(_: *mut c_void) -> i32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_join(_: *mut c_void, _: *mut c_void) -> i32 {
    UNSUPPORTED
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_init(_: *mut c_void) -> i32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_setstacksize(_: *mut c_void, _: usize) -> i32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_destroy(_: *mut c_void) -> i32 {
    0
}
