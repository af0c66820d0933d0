//! What bytes are that are no core module, as far as the usual mistakes go.

use wasmparser::Parser;

use super::Refusal;

/// A module's magic number and version.
const HEADER: &[u8; 8] = b"\0asm\x01\0\0\0";
/// The operating system that wasmtime writes into its compiled artefacts (`ELFOSABI_WASMTIME`), and where in an ELF header it stands.
const WASMTIME_OS: (usize, u8) = (7, 200);

/// What begins in these ways, and what it is.
const MAGIC: [(&[u8], &str); 15] = [
    (b"\x7fELF", "this is native code (ELF); build for the target wasm32-wasip1"),
    (b"\xfe\xed\xfa\xce", MACH_O),
    (b"\xfe\xed\xfa\xcf", MACH_O),
    (b"\xce\xfa\xed\xfe", MACH_O),
    (b"\xcf\xfa\xed\xfe", MACH_O),
    (b"\xca\xfe\xba\xbe", MACH_O),
    (b"MZ", "this is native code (PE, a Windows program); build for the target wasm32-wasip1"),
    (b"!<arch>\n", "this is a static library; link it into a command for the target wasm32-wasip1"),
    (b"BC\xc0\xde", "this is LLVM bitcode; link it into a command for the target wasm32-wasip1"),
    (b"\x1f\x8b", COMPRESSED),
    (b"\x28\xb5\x2f\xfd", COMPRESSED),
    (b"PK\x03\x04", COMPRESSED),
    (b"(module", TEXT),
    (b"(component", TEXT),
    (b";;", TEXT),
];
const MACH_O: &str = "this is native code (Mach-O); build for the target wasm32-wasip1";
const COMPRESSED: &str = "this is compressed; send the module itself";
const TEXT: &str = "this is WebAssembly text; translate it to binary first, as with `wasm-tools parse`";

/// Refuses what is no core module, in the words for what it is.
pub(super) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    match fault(bytes) {
        Some(fault) => Err(Refusal::Format(fault)),
        None => Ok(()),
    }
}

fn fault(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("the file is empty");
    }
    if Parser::is_component(bytes) {
        return Some(
            "this is a component, of the proposal component model; build a core module, as for the target wasm32-wasip1",
        );
    }
    if bytes.starts_with(b"\x7fELF") && bytes.get(WASMTIME_OS.0) == Some(&WASMTIME_OS.1) {
        return Some("this is code that wasmtime compiled (.cwasm); send the module that it was compiled from");
    }
    if bytes.starts_with(b"\0asm") {
        // What follows is for the parser to judge; it tells a file that ends here from one of another version.
        return None;
    }
    // Text may be indented; nothing else that is known here begins with white space.
    let (text, binary) = (bytes.trim_ascii_start(), bytes);
    let known =
        MAGIC.iter().find(|(magic, _)| binary.starts_with(magic) || (magic[0].is_ascii_punctuation() && text.starts_with(magic)));
    match known {
        Some((_, fault)) => Some(fault),
        None if HEADER.starts_with(bytes) => None,
        None => Some("this is no WebAssembly module: it does not begin with `\\0asm` (at offset 0x0)"),
    }
}
