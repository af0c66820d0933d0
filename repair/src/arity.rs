//! How many values an operator takes and gives.

use wasmparser::{
    BinaryReaderError, BlockType, ContType, FrameKind, FuncType, ModuleArity, Operator, Payload, RefType, SubType, TypeRef,
};

/// The types of a module's functions.
#[derive(Debug, Default)]
pub(crate) struct Module {
    types: Vec<SubType>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    imported: u32,
}

impl Module {
    /// Takes in what a section says of types.
    pub(crate) fn learn(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(groups) => {
                for group in groups.clone() {
                    self.types.extend(group?.into_types());
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    if let TypeRef::Func(of) | TypeRef::FuncExact(of) = import?.ty {
                        self.functions.push(of);
                        self.imported += 1;
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                for of in functions.clone() {
                    self.functions.push(of?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// How many functions are imported: the module's own count on from there.
    pub(crate) fn imported_functions(&self) -> u32 {
        self.imported
    }

    /// How many values an operator takes and gives; none where paths part or meet.
    pub(crate) fn arity(&self, operator: &Operator<'_>) -> Option<(u32, u32)> {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::Else | Operator::End => None,
            Operator::Unreachable | Operator::Return | Operator::Br { .. } | Operator::BrIf { .. } | Operator::BrTable { .. } => {
                None
            }
            other => other.operator_arity(self),
        }
    }
}

impl ModuleArity for Module {
    fn sub_type_at(&self, type_idx: u32) -> Option<&SubType> {
        self.types.get(type_idx as usize)
    }

    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }

    fn type_index_of_function(&self, function_idx: u32) -> Option<u32> {
        self.functions.get(function_idx as usize).copied()
    }

    fn func_type_of_cont_type(&self, _: &ContType) -> Option<&FuncType> {
        None
    }

    fn sub_type_of_ref_type(&self, _: &RefType) -> Option<&SubType> {
        None
    }

    fn control_stack_height(&self) -> u32 {
        0
    }

    fn label_block(&self, _: u32) -> Option<(BlockType, FrameKind)> {
        None
    }
}
