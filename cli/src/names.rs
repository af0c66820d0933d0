//! The names of a module's functions, for people.

use std::collections::HashMap;

use adit_runtime::Place;
use wasmparser::{ExternalKind, KnownCustom, Name, Parser, Payload, TypeRef};

/// Who has which number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Imported functions, by their module and name.
    imported: Vec<(String, String)>,
    named: HashMap<u32, String>,
    exported: HashMap<u32, String>,
}

impl Names {
    /// Reads what a module says. What cannot be read is left out: names are for people, and nothing stands on them.
    pub(crate) fn read(wasm: &[u8]) -> Self {
        let mut names = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::ImportSection(section)) => {
                    let functions = section.into_imports().flatten().filter(|import| matches!(import.ty, TypeRef::Func(_)));
                    names.imported.extend(functions.map(|import| (import.module.to_owned(), import.name.to_owned())));
                }
                Ok(Payload::ExportSection(section)) => {
                    let functions = section.into_iter().flatten().filter(|export| export.kind == ExternalKind::Func);
                    names.exported.extend(functions.map(|export| (export.index, export.name.to_owned())));
                }
                Ok(Payload::CustomSection(section)) => {
                    if let KnownCustom::Name(sections) = section.as_known() {
                        for name in sections.flatten() {
                            if let Name::Function(map) = name {
                                names.named.extend(map.into_iter().flatten().map(|name| (name.index, readable(name.name))));
                            }
                        }
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        names
    }

    /// Whether a function is the host's.
    pub(crate) fn is_host(&self, place: Place) -> bool {
        matches!(place, Place::Function(index) if (index as usize) < self.imported.len())
    }

    /// What a place of a profile is called.
    pub(crate) fn of(&self, place: Place) -> String {
        match place {
            Place::Instance => "[instance]".to_owned(),
            Place::Deeper => "[deeper calls]".to_owned(),
            Place::Function(index) => self.function(index),
        }
    }

    fn function(&self, index: u32) -> String {
        if let Some((_, name)) = self.imported.get(index as usize) {
            return format!("[host] {name}");
        }
        let known = self.named.get(&index).or_else(|| self.exported.get(&index));
        known.cloned().unwrap_or_else(|| format!("function {index}"))
    }
}

/// A function's name as its author wrote it. `{:#}` leaves out the hash at the end of a Rust symbol.
fn readable(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_the_best_name_that_there_is() {
        let wat = r#"(module (import "adit_1" "log" (func (param i32 i32 i32)))
            (func $_ZN5hello4main17h0123456789abcdefE) (func (export "twice")) (func))"#;
        let names = Names::read(&wat::parse_str(wat).unwrap());
        let told: Vec<String> = (0..4).map(|index| names.of(Place::Function(index))).collect();
        assert_eq!(told, ["[host] log", "hello::main", "twice", "function 3"]);
        assert!(names.is_host(Place::Function(0)) && !names.is_host(Place::Function(1)) && !names.is_host(Place::Instance));
        assert_eq!(Names::read(b"nothing").of(Place::Function(0)), "function 0");
    }
}
