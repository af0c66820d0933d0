//! What a shader is, by the compiler that a node has it read by.

use wgpu::naga::back::PipelineConstants;
use wgpu::naga::back::pipeline_constants::process_overrides;
use wgpu::naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use wgpu::naga::{self, AddressSpace, GlobalVariable, Handle, Module, ShaderStage, StorageAccess};

use super::super::{Error, Limits};

/// Bytes of a shader.
const WGSL_BYTES_MAX: usize = 64 * 1024;
/// What core WGSL has beyond the least that the compiler can check: packing halves into words.
const CORE: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

/// What an entry point uses of group 0.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) bindings: Vec<BindingShape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BindingShape {
    pub(super) binding: u32,
    pub(super) kind: Kind,
    /// Bytes of its type, with one element where an array has no length of its own.
    pub(super) bytes_min: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uniform,
    Read,
    ReadWrite,
}

impl Shape {
    /// What the entry point uses, if a job with these limits may have the shader at all.
    pub(super) fn of(wgsl: &str, entry: &str, limits: &Limits) -> Result<Self, Error> {
        if wgsl.len() > WGSL_BYTES_MAX {
            return Err(Error::Shader(format!("it has {} bytes, over the {WGSL_BYTES_MAX} that one may have", wgsl.len())));
        }
        let (module, info) = read(wgsl)?;
        // What is left is the entry point and what it uses, with a value for all that could have had another.
        let (module, info) =
            process_overrides(&module, &info, Some((ShaderStage::Compute, entry)), &PipelineConstants::default())
                .map_err(|error| Error::Shader(error.to_string()))?;
        let is_entry = |point: &naga::EntryPoint| point.stage == ShaderStage::Compute && point.name == entry;
        let Some(index) = module.entry_points.iter().position(is_entry) else {
            return Err(Error::Shader(format!("it has no compute entry point `{entry}`")));
        };
        let uses = info.get_entry_point(index);
        let used = || module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty());
        let shared: u64 = used().map(|(_, global)| workgroup_bytes(&module, global)).sum();
        if shared > u64::from(limits.workgroup_memory) {
            let limit = limits.workgroup_memory;
            return Err(Error::Shader(format!("its workgroups share {shared} bytes, over the job's limit of {limit}")));
        }
        let bindings: Result<Vec<_>, _> = used().filter_map(|(handle, _)| BindingShape::of(&module, wgsl, handle)).collect();
        Ok(Self { bindings: bindings? })
    }
}

/// The shader as the compiler has it, and what it found.
fn read(wgsl: &str) -> Result<(Module, ModuleInfo), Error> {
    let mut options = naga::front::wgsl::Options::new();
    options.capabilities = CORE;
    let module = naga::front::wgsl::Frontend::new_with_options(options)
        .parse(wgsl)
        .map_err(|error| Error::Shader(error.emit_to_string(wgsl)))?;
    let info = Validator::new(ValidationFlags::all(), CORE)
        .validate(&module)
        .map_err(|error| Error::Shader(error.emit_to_string(wgsl)))?;
    Ok((module, info))
}

/// Bytes that a variable takes of a workgroup's memory (WGSL, section 14.4: rounded up to 16).
fn workgroup_bytes(module: &Module, global: &GlobalVariable) -> u64 {
    let bytes = u64::from(module.types[global.ty].inner.size(module.to_ctx()));
    if global.space == AddressSpace::WorkGroup { bytes.next_multiple_of(16) } else { 0 }
}

impl BindingShape {
    /// The binding that a variable is; none where it is memory of the workgroup or of one invocation.
    fn of(module: &Module, wgsl: &str, handle: Handle<GlobalVariable>) -> Option<Result<Self, Error>> {
        let global = &module.global_variables[handle];
        let kind = match global.space {
            AddressSpace::WorkGroup | AddressSpace::Private => return None,
            AddressSpace::Uniform => Kind::Uniform,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Kind::ReadWrite,
            AddressSpace::Storage { .. } => Kind::Read,
            _ => return Some(Err(refused(module, wgsl, handle, "is no buffer"))),
        };
        let Some(place) = global.binding.as_ref().filter(|place| place.group == 0) else {
            return Some(Err(refused(module, wgsl, handle, "is not in group 0")));
        };
        let bytes_min = module.types[global.ty].inner.size(module.to_ctx()).into();
        Some(Ok(Self { binding: place.binding, kind, bytes_min }))
    }
}

fn refused(module: &Module, wgsl: &str, handle: Handle<GlobalVariable>, why: &str) -> Error {
    let name = module.global_variables[handle].name.as_deref().unwrap_or_default();
    let line = module.global_variables.get_span(handle).location(wgsl).line_number;
    Error::Shader(format!("line {line}: the variable `{name}` {why}"))
}
