//! The host interface is the same wherever it stands: `adit-abi` is the table, and the declarations of this crate, `abi.md`, `adit.h` and
//! `adit.zig` are read here and compared with it. The runtime's tests compare its linker.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use adit_abi::{CONSTANTS, FUNCTIONS, MODULE, RECORDS};

/// Functions by name: `level: i, ptr: i -> I`, with the wasm types as letters.
type Functions = BTreeMap<String, String>;
/// Constants by name.
type Constants = BTreeMap<String, i64>;
/// Records by name: their bytes and `memory: u64, buffer: u32`.
type Records = BTreeMap<String, (usize, String)>;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn function(params: impl IntoIterator<Item = (String, char)>, result: &str) -> String {
    let params: Vec<_> = params.into_iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
    format!("{} -> {result}", params.join(", "))
}

/// The table.
mod table {
    use super::*;

    pub(super) fn functions() -> Functions {
        let spell = |f: &adit_abi::Function| {
            assert_eq!(f.names.len(), f.params.len(), "{}", f.name);
            function(f.names.iter().map(|name| (*name).to_owned()).zip(f.params.chars()), f.result)
        };
        FUNCTIONS.iter().map(|f| (f.name.to_owned(), spell(f))).collect()
    }

    pub(super) fn constants() -> Constants {
        CONSTANTS.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    pub(super) fn records() -> Records {
        let fields =
            |fields: &[(&str, &str)]| fields.iter().map(|(name, ty)| format!("{name}: {ty}")).collect::<Vec<_>>().join(", ");
        RECORDS.iter().map(|record| (record.name.to_owned(), (record.bytes, fields(record.fields)))).collect()
    }

    #[test]
    fn has_each_name_once() {
        assert_eq!((functions().len(), constants().len(), records().len()), (FUNCTIONS.len(), CONSTANTS.len(), RECORDS.len()));
        assert!(FUNCTIONS.len() >= 20 && CONSTANTS.len() >= 25);
    }
}

/// `abi.md`: rows of tables whose first cell is a name in code.
mod prose {
    use super::*;

    /// The cells of each row, without the code's backticks.
    fn rows() -> Vec<Vec<String>> {
        let text = read("abi.md");
        let cells =
            |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
        text.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
    }

    fn functions() -> Functions {
        let rows = rows();
        let functions = rows.iter().filter_map(|row| Some((row[0].strip_prefix(MODULE)?.strip_prefix('.')?, &*row[1])));
        functions.map(|(name, signature)| (name.to_owned(), parse(signature))).collect()
    }

    /// `(level: i32, ptr: i32) -> ()`.
    fn parse(signature: &str) -> String {
        let letter = |ty: &str| match ty {
            "i32" => 'i',
            "i64" => 'I',
            other => panic!("{signature}: {other} is no type"),
        };
        let (params, result) = signature.split_once(" -> ").unwrap_or_else(|| panic!("{signature} has no result"));
        let params = params.trim_matches(['(', ')']).split(", ").filter(|param| !param.is_empty());
        let params = params.map(|param| param.split_once(": ").unwrap_or_else(|| panic!("{signature}: {param}")));
        let result = if result == "()" { String::new() } else { letter(result).to_string() };
        function(params.map(|(name, ty)| (name.to_owned(), letter(ty))), &result)
    }

    #[test]
    fn has_the_functions_of_the_table() {
        assert_eq!(functions(), table::functions());
    }

    #[test]
    fn has_the_constants_of_the_table() {
        let is_constant = |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let constants =
            rows().into_iter().filter(|row| is_constant(&row[0])).map(|row| (row[0].clone(), row[1].parse().unwrap()));
        assert_eq!(constants.collect::<Constants>(), table::constants());
    }

    #[test]
    fn has_the_records_of_the_table() {
        let rows = rows();
        let records = rows.iter().filter_map(|row| Some((row[0].clone(), (row[1].parse().ok()?, row[2].clone()))));
        let records: Records = records.filter(|(name, _)| name.starts_with(char::is_lowercase)).collect();
        assert_eq!(records, table::records());
    }
}

/// `adit.h`.
mod header {
    use super::*;

    /// The header without its comments.
    fn code() -> String {
        let text = read("adit.h");
        let mut code = String::new();
        for piece in text.split("/*") {
            code.push_str(piece.split_once("*/").map_or(piece, |(_, rest)| rest));
        }
        code
    }

    /// What follows each `ADIT_IMPORT(name)`, up to its semicolon.
    fn functions() -> Functions {
        let code = code();
        // The first two are the macro's own definitions.
        let declared = code.split("\nADIT_IMPORT(").skip(1).map(|rest| rest.split_once(';').expect("a declaration ends").0);
        declared.map(|declaration| parse(declaration.split_once(')').expect("a name ends"))).collect()
    }

    /// `log`, and `void adit_log(int32_t level, const void *ptr, uint32_t len)`.
    fn parse((import, declaration): (&str, &str)) -> (String, String) {
        let (head, params) = declaration.trim().trim_end_matches(')').split_once('(').expect("parameters");
        let (result, name) = head.rsplit_once(' ').expect("a result and a name");
        assert_eq!(name.strip_prefix("adit_"), Some(import), "the function in C is named for its import");
        let params = params.split(", ").filter(|param| *param != "void");
        let params = params.map(|param| {
            let at = param.rfind([' ', '*']).unwrap_or_else(|| panic!("{declaration}: {param}")) + 1;
            (param[at..].to_owned(), letter(&param[..at]).unwrap_or_else(|| panic!("{declaration}: {param}")))
        });
        let result = letter(result).map(String::from).unwrap_or_default();
        (import.to_owned(), function(params, &result))
    }

    /// The wasm type of a C type; none for `void`.
    fn letter(ty: &str) -> Option<char> {
        match ty.trim() {
            "int32_t" | "uint32_t" => Some('i'),
            "int64_t" | "uint64_t" => Some('I'),
            pointer if pointer.ends_with('*') => Some('i'),
            "void" => None,
            other => panic!("{other} is no type of the interface"),
        }
    }

    #[test]
    fn has_the_functions_of_the_table() {
        assert_eq!(functions(), table::functions());
    }

    #[test]
    fn has_the_constants_and_the_module_of_the_table() {
        let code = code();
        let defined = code.lines().filter_map(|line| line.strip_prefix("#define ADIT_")?.split_once(' '));
        let value = |text: &str| text.trim().trim_matches(['(', ')']).parse::<i64>().ok();
        let constants = defined.filter_map(|(name, text)| Some((name.to_owned(), value(text)?)));
        assert_eq!(constants.collect::<Constants>(), table::constants());
        assert!(code.contains(&format!("#define ADIT_MODULE \"{MODULE}\"\n")));
    }

    #[test]
    fn has_the_records_of_the_table() {
        let code = code();
        let records = code.split("\nstruct adit_").skip(1).map(|rest| rest.split_once("};").expect("a struct ends").0);
        let records = records.map(|record| {
            let (name, fields) = record.split_once(" {").expect("fields");
            let fields: Vec<_> = fields.split(';').map(str::trim).filter(|field| !field.is_empty()).collect();
            let fields =
                fields.iter().map(|field| field.strip_prefix("uint").and_then(|f| f.split_once("_t ")).expect("a field"));
            let fields: Vec<_> = fields.map(|(bits, name)| format!("{name}: u{bits}")).collect();
            (name.to_owned(), fields.join(", "))
        });
        let expected = table::records().into_iter().map(|(name, (_, fields))| (name, fields));
        assert_eq!(records.collect::<BTreeMap<_, _>>(), expected.collect());
    }

    /// The C compiler that Rust links with reads it without a complaint, as C and as C++, and lays its records out as the table says.
    #[test]
    fn compiles_and_has_the_sizes_of_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = RECORDS.iter().map(|record| {
            format!("typedef char {0}_size[sizeof(struct adit_{0}) == {1} ? 1 : -1];\n", record.name, record.bytes)
        });
        let text =
            format!("#include \"adit.h\"\n#include \"adit.h\"\n{}int main(void) {{ return 0; }}\n", sizes.collect::<String>());
        let file = folder.path().join("job.c");
        std::fs::write(&file, text).unwrap();
        for language in [&["-x", "c", "-std=c99"][..], &["-x", "c++"]] {
            let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
            cc.args(language).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
            let output =
                cc.arg("-I").arg(env!("CARGO_MANIFEST_DIR")).arg(&file).output().expect("the C compiler that Rust links with");
            assert!(output.status.success(), "{language:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// `adit.zig`.
mod zig {
    use super::*;

    fn functions() -> Functions {
        let text = read("adit.zig");
        let import = format!("pub extern \"{MODULE}\" fn ");
        let declared = text.lines().filter_map(|line| line.strip_prefix("pub extern ").map(|_| line));
        declared.map(|line| parse(line.strip_prefix(&import).unwrap_or_else(|| panic!("{line}: not of {MODULE}")))).collect()
    }

    /// `log(level: i32, ptr: [*]const u8, len: u32) void;`.
    fn parse(declaration: &str) -> (String, String) {
        let (name, rest) = declaration.split_once('(').expect("parameters");
        let (params, result) = rest.trim_end_matches(';').rsplit_once(") ").expect("a result");
        let params = params.split(", ").filter(|param| !param.is_empty());
        let params = params.map(|param| param.split_once(": ").unwrap_or_else(|| panic!("{declaration}: {param}")));
        let letter = |ty: &str| match ty {
            "i32" | "u32" => Some('i'),
            "i64" | "u64" => Some('I'),
            pointer if pointer.starts_with(['[', '*']) => Some('i'),
            "void" => None,
            other => panic!("{declaration}: {other} is no type of the interface"),
        };
        let params = params.map(|(name, ty)| (name.to_owned(), letter(ty).expect("a parameter is something")));
        (name.to_owned(), function(params, &letter(result).map(String::from).unwrap_or_default()))
    }

    #[test]
    fn has_the_functions_of_the_table() {
        assert_eq!(functions(), table::functions());
    }

    #[test]
    fn has_the_constants_of_the_table() {
        let text = read("adit.zig");
        let defined = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.trim_end_matches(';').split_once(" = "));
        let constants = defined.filter_map(|(name, value)| Some((name.to_owned(), value.parse::<i64>().ok()?)));
        assert_eq!(constants.collect::<Constants>(), table::constants());
    }

    #[test]
    fn has_the_records_of_the_table() {
        let text = read("adit.zig");
        let records =
            text.split("\npub const Gpu").skip(1).filter_map(|rest| rest.split_once("};")?.0.split_once(" = extern struct {"));
        let records = records.map(|(name, fields)| {
            let fields: Vec<_> =
                fields.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
            (format!("gpu_{}", name.to_lowercase()), fields.join(" ").trim_end_matches(',').to_owned())
        });
        let expected = table::records().into_iter().map(|(name, (_, fields))| (name, fields));
        assert_eq!(records.collect::<BTreeMap<_, _>>(), expected.collect());
    }
}

/// The declarations in `src/abi`.
mod sdk {
    use syn::{ForeignItem, ForeignItemFn, Item, ItemForeignMod, ReturnType, Type};

    use super::*;

    /// Every foreign function of a module of the host's, by the import's module.
    fn functions(module: &str) -> Functions {
        let files = ["src/abi/host.rs", "src/abi/gpu.rs", "src/abi/wasi.rs"];
        // `safe` is newer than syn's grammar.
        let files: Vec<_> =
            files.iter().map(|file| syn::parse_file(&read(file).replace(" safe fn ", " fn ")).expect("our own Rust")).collect();
        let blocks = files.iter().flat_map(|file| blocks(&file.items)).filter(|block| is_linked_to(block, module));
        blocks.flat_map(|block| &block.items).map(parse).collect()
    }

    fn blocks(items: &[Item]) -> Vec<&ItemForeignMod> {
        items
            .iter()
            .flat_map(|item| match item {
                Item::ForeignMod(block) => vec![block],
                Item::Mod(module) => module.content.as_ref().map_or_else(Vec::new, |(_, items)| blocks(items)),
                _ => vec![],
            })
            .collect()
    }

    fn is_linked_to(block: &ItemForeignMod, module: &str) -> bool {
        block.attrs.iter().any(|attribute| match &attribute.meta {
            syn::Meta::List(link) if link.path.is_ident("link") => {
                link.tokens.to_string() == format!("wasm_import_module = {module:?}")
            }
            _ => false,
        })
    }

    fn parse(item: &ForeignItem) -> (String, String) {
        let ForeignItem::Fn(ForeignItemFn { sig, .. }) = item else { panic!("a foreign item that is no function") };
        let params = sig.inputs.iter().map(|param| match param {
            syn::FnArg::Typed(param) => match &*param.pat {
                syn::Pat::Ident(name) => (name.ident.to_string(), letter(&param.ty)),
                _ => panic!("{}: a parameter without a name", sig.ident),
            },
            syn::FnArg::Receiver(_) => panic!("{}: a receiver", sig.ident),
        });
        let result = match &sig.output {
            ReturnType::Default => String::new(),
            ReturnType::Type(_, ty) => letter(ty).to_string(),
        };
        (sig.ident.to_string(), function(params, &result))
    }

    /// The type that a Rust type has in wasm32.
    fn letter(ty: &Type) -> char {
        match ty {
            Type::Ptr(_) => 'i',
            Type::Path(path) => match path.path.get_ident().map(ToString::to_string).as_deref() {
                Some("i32" | "u32" | "usize") => 'i',
                Some("i64" | "u64") => 'I',
                other => panic!("{other:?} is no type of the interface"),
            },
            _ => panic!("a type that the interface does not have"),
        }
    }

    #[test]
    fn has_the_functions_of_the_table() {
        assert_eq!(functions(MODULE), table::functions());
    }

    /// Against <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/witx>, as the types of what the SDK imports lower to wasm32.
    #[test]
    fn has_wasis_types() {
        let wasi = [
            ("clock_time_get", "clock: i, precision: I, time: i -> i"),
            ("fd_read", "fd: i, buffers: i, count: i, read: i -> i"),
            ("fd_write", "fd: i, buffers: i, count: i, written: i -> i"),
            ("random_get", "ptr: i, len: i -> i"),
        ];
        let wasi = wasi.into_iter().map(|(name, signature)| (name.to_owned(), signature.to_owned()));
        assert_eq!(functions("wasi_snapshot_preview1"), wasi.collect());
    }
}
