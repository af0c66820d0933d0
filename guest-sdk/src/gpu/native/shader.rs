//! What a shader is, by the compiler that a node has it read by, and by the rules that a node keeps.

mod inlined;

use std::collections::HashSet;
use std::error::Error as _;

use wgpu::naga::back::PipelineConstants;
use wgpu::naga::back::pipeline_constants::process_overrides;
use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use wgpu::naga::{
    AddressSpace, Expression, Function, GlobalVariable, Handle, Module, ShaderStage, SourceLocation, StorageAccess, Type,
    TypeInner,
};

use super::super::{Error, Limits};

/// Bytes of a shader.
const WGSL_BYTES_MAX: usize = adit_abi::GPU_SHADER_BYTES_MAX as usize;
/// Bytes of an entry point's name.
const ENTRY_BYTES_MAX: usize = adit_abi::GPU_ENTRY_BYTES_MAX as usize;
/// Bytes of all private variables of a shader, and of all variables of a function.
const VARIABLE_BYTES_MAX: u64 = adit_abi::GPU_VARIABLE_BYTES_MAX as u64;
/// Operations of an entry point with those of every function that it calls, once for each call.
const OPERATIONS_MAX: u64 = adit_abi::GPU_SHADER_OPERATIONS_MAX as u64;
/// What SPIR-V begins with (SPIR-V specification, section 2.3): a program may take it for text.
const SPIR_V: [u8; 4] = 0x0723_0203_u32.to_le_bytes();
/// Binding numbers are below this.
const BINDING_NUMBERS: u32 = 1000;
/// What sizes of workgroup variables are rounded up to.
const WORKGROUP_ALIGN: u64 = 16;
/// What core WGSL has beyond the least that the compiler can check: halves that are packed into words.
const CORE: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

/// What is counted of an entry point.
const OPERATIONS: &str = "operations, with those of each function once per call of it";

/// What an entry point uses of group 0.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) bindings: Vec<BindingShape>,
    /// What a driver has to compile.
    pub(super) operations: u64,
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
    /// What the entry point uses, if a job with these limits may have the shader at all. The size of its workgroups is left to the device.
    pub(super) fn of(wgsl: &str, entry: &str, limits: &Limits) -> Result<Self, Error> {
        within("bytes of source", wgsl.len() as u64, WGSL_BYTES_MAX as u64, "a shader has at most")?;
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "an entry point's name of {} bytes; it has at most {ENTRY_BYTES_MAX}",
                entry.len()
            )));
        }
        if wgsl.as_bytes().starts_with(&SPIR_V) {
            return Err(Error::Shader("the shader is SPIR-V, and a guest's is WGSL".to_owned()));
        }
        let (module, info) = read(wgsl)?;
        let is_entry = |point: &&_| is_compute(point, entry);
        let (at, _) = (module.entry_points.iter().enumerate())
            .find(|(_, point)| is_entry(point))
            .ok_or_else(|| Error::Shader(format!("the shader has no compute entry point `{entry}`")))?;
        let operations = inlined::operations(&module, &info, at);
        within(OPERATIONS, operations, OPERATIONS_MAX, "an entry point has at most")?;
        let uses = info.get_entry_point(at);
        let mut bindings = Vec::new();
        for (handle, global) in module.global_variables.iter() {
            let binding = BindingShape::of(&module, global, !uses[handle].is_empty()).map_err(|why| {
                let name = global.name.as_deref().unwrap_or("a variable");
                explain(&format!("`{name}` {why}"), Some(module.global_variables.get_span(handle).location(wgsl)), wgsl)
            })?;
            bindings.extend(binding);
        }
        check_memory(&module, &info, entry, limits)?;
        Ok(Self { bindings, operations })
    }
}

impl BindingShape {
    /// The binding that a variable is; none where it is the shader's own memory, or not used. Or what it is that it may not be.
    fn of(module: &Module, global: &GlobalVariable, is_used: bool) -> Result<Option<Self>, String> {
        let kind = match global.space {
            AddressSpace::WorkGroup | AddressSpace::Private => return Ok(None),
            AddressSpace::Uniform => Kind::Uniform,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Kind::ReadWrite,
            AddressSpace::Storage { .. } => Kind::Read,
            _ => return Err("is no buffer; a guest's shader has no textures, samplers or others".to_owned()),
        };
        if !is_used {
            return Ok(None);
        }
        let place = global.binding.ok_or("has no binding")?;
        if place.group != 0 || place.binding >= BINDING_NUMBERS {
            let (group, binding) = (place.group, place.binding);
            return Err(format!(
                "is in group {group}, binding {binding}; there is group 0 alone, with bindings below {BINDING_NUMBERS}"
            ));
        }
        Ok(Some(Self { binding: place.binding, kind, bytes_min: size(module, global.ty) }))
    }
}

/// The shader as the compiler has it, and what it found.
fn read(source: &str) -> Result<(Module, ModuleInfo), Error> {
    let mut options = wgsl::Options::new();
    options.capabilities = CORE;
    let module = wgsl::Frontend::new_with_options(options)
        .parse(source)
        .map_err(|error| explain(error.message(), error.location(source), source))?;
    let info = Validator::new(ValidationFlags::all(), CORE).validate(&module).map_err(|error| {
        let mut message = error.as_inner().to_string();
        let mut cause = error.as_inner().source();
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        explain(&message, error.location(source), source)
    })?;
    Ok((module, info))
}

/// Checks what variables take of what the entry point uses: of a workgroup, of the shader, and of each function.
fn check_memory(module: &Module, info: &ModuleInfo, entry: &str, limits: &Limits) -> Result<(), Error> {
    // What is left is the entry point and what it uses, with a value for all that could have had another.
    let (module, info) = process_overrides(module, info, Some((ShaderStage::Compute, entry)), &PipelineConstants::default())
        .map_err(|error| Error::Shader(format!("`override` constants have their defaults here: {error}")))?;
    let sizes = |space: AddressSpace| {
        let variables = module.global_variables.iter().filter(move |(_, global)| global.space == space);
        variables.map(|(_, global)| size(&module, global.ty))
    };
    let shared = sizes(AddressSpace::WorkGroup).map(|bytes| bytes.next_multiple_of(WORKGROUP_ALIGN)).sum();
    within("bytes of workgroup memory", shared, limits.workgroup_memory.into(), "the job's limit is")?;
    within("bytes of private variables", sizes(AddressSpace::Private).sum(), VARIABLE_BYTES_MAX, "a shader has at most")?;
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let entry_points = module.entry_points.iter().enumerate().filter(|(_, point)| is_compute(point, entry));
    for (function, info) in functions.chain(entry_points.map(|(at, point)| (&point.function, info.get_entry_point(at)))) {
        let own = own_bytes(&module, function);
        within("bytes of variables in a function", own, VARIABLE_BYTES_MAX, "it has at most")?;
        let what = "bytes of variables in a function, with the arrays of others' that it looks places up in";
        within(what, own + copied_bytes(&module, function, info), VARIABLE_BYTES_MAX, "it has at most")?;
    }
    Ok(())
}

fn is_compute(point: &wgpu::naga::EntryPoint, name: &str) -> bool {
    point.stage == ShaderStage::Compute && point.name == name
}

fn own_bytes(module: &Module, function: &Function) -> u64 {
    function.local_variables.iter().map(|(_, variable)| size(module, variable.ty)).sum()
}

/// Bytes of the arrays and matrices that are no variables, in which a function looks up places that are not known beforehand.
fn copied_bytes(module: &Module, function: &Function, info: &FunctionInfo) -> u64 {
    let (mut bytes, mut copied, mut places) = (0_u64, HashSet::new(), HashSet::new());
    for (handle, expression) in function.expressions.iter() {
        let (base, is_known) = match *expression {
            Expression::Access { base, .. } => (base, false),
            Expression::AccessIndex { base, .. } => (base, true),
            _ => continue,
        };
        let inner = info[base].ty.inner_with(&module.types);
        let is_within = places.contains(&base);
        if is_within || !is_known && matches!(inner, TypeInner::Array { .. } | TypeInner::Matrix { .. }) {
            places.insert(handle);
            if !is_within && copied.insert(base) {
                bytes = bytes.saturating_add(inner.try_size(module.to_ctx()).unwrap_or(u32::MAX).into());
            }
        }
    }
    bytes
}

/// Bytes of a type, with one element where an array has no length of its own; more than there is where they cannot be counted.
fn size(module: &Module, ty: Handle<Type>) -> u64 {
    module.types[ty].inner.try_size(module.to_ctx()).unwrap_or(u32::MAX).into()
}

fn within(what: &str, value: u64, most: u64, limit: &str) -> Result<(), Error> {
    if value <= most { Ok(()) } else { Err(Error::Shader(format!("{value} {what}; {limit} {most}"))) }
}

/// A message with the place that it is about, where there is one.
fn explain(message: &str, at: Option<SourceLocation>, source: &str) -> Error {
    let Some(at) = at.filter(|at| at.line_number > 0) else { return Error::Shader(message.to_owned()) };
    let (number, column) = (at.line_number, at.line_position);
    let line = source.lines().nth(number as usize - 1).unwrap_or_default().trim();
    Error::Shader(format!("line {number}, column {column}: {message}\n  {line}"))
}
