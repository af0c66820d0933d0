//! Rewrites a whole module, as the meter does, with nothing but this pass.

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{CodeSection, Function, Module};
use wasmparser::{CompositeInnerType, FuncType, FunctionBody, Parser, Payload, TypeRef};

use crate::meter::body::{Body, Signatures};

/// Has `pass` change every body of a module that is valid.
pub(crate) fn rewrite(wasm: &[u8], pass: impl FnMut(&mut Body<'_>, &Signatures)) -> Vec<u8> {
    let mut rewriter = Rewriter { signatures: signatures(wasm), next: 0, pass };
    let mut module = Module::new();
    rewriter.parse_core_module(&mut module, Parser::new(0), wasm).expect("the module is valid");
    module.finish()
}

fn signatures(wasm: &[u8]) -> Signatures {
    let mut signatures = Signatures::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("the module is valid") {
            Payload::TypeSection(groups) => {
                for ty in groups.into_iter().flat_map(|group| group.expect("valid").into_types()) {
                    let CompositeInnerType::Func(ty) = ty.composite_type.inner else { panic!("no function") };
                    signatures.types.push(ty);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    match import.expect("valid").ty {
                        TypeRef::Func(ty) => signatures.functions.push(ty),
                        TypeRef::Global(ty) => signatures.globals.push(ty.content_type),
                        _ => {}
                    }
                }
                signatures.imported_functions = signatures.functions.len() as u32;
            }
            Payload::FunctionSection(functions) => {
                signatures.functions.extend(functions.into_iter().map(|ty| ty.expect("valid")))
            }
            Payload::GlobalSection(globals) => {
                signatures.globals.extend(globals.into_iter().map(|global| global.expect("valid").ty.content_type));
            }
            _ => {}
        }
    }
    signatures
}

struct Rewriter<F> {
    signatures: Signatures,
    next: u32,
    pass: F,
}

impl<F: FnMut(&mut Body<'_>, &Signatures)> Reencode for Rewriter<F> {
    type Error = std::convert::Infallible;

    fn parse_function_body(&mut self, code: &mut CodeSection, function: FunctionBody<'_>) -> Result<(), Error<Self::Error>> {
        let ty: FuncType = self.signatures.function(self.signatures.imported_functions + self.next).clone();
        self.next += 1;
        let mut body = Body::decode(&ty, &function, |_| 1)?;
        (self.pass)(&mut body, &self.signatures);
        let locals = &body.locals[body.params as usize..];
        let locals = locals.iter().map(|ty| Ok((1, self.val_type(*ty)?))).collect::<Result<Vec<_>, Error<_>>>()?;
        let mut encoded = Function::new(locals);
        for step in body.steps {
            if let Some(mend) = step.mend {
                mend.write(&mut encoded, &mut Vec::new());
            }
            encoded.instruction(&self.instruction(step.op)?);
        }
        code.function(&encoded);
        Ok(())
    }
}
