//! What a guest's shader may be, and what is found out about it before anything is made of it.
//!
//! Parsing and validating is what wgpu does too, later, in the process that holds the device. It is done first in a process that holds
//! nothing, because a parser can be made to take all the time and memory there is.

mod inlined;

use std::collections::HashSet;
use std::error::Error;

use adit_protocol::{Comparison, GpuNeed};
use naga::back::pipeline_constants::process_overrides;
use naga::compact::{KeepUnused, compact};
use naga::front::wgsl;
use naga::proc::GlobalCtx;
use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{
    AddressSpace, EntryPoint, Expression, GlobalVariable, Handle, Module, ScalarKind, ShaderStage, SourceLocation, StorageAccess,
    Type, TypeInner,
};

use super::wire::{BindingKind, BindingShape, ShaderOrder, Shape};

/// Bytes of a shader's source.
pub(crate) const SHADER_BYTES_MAX: usize = adit_abi::GPU_SHADER_BYTES_MAX as usize;
/// What SPIR-V begins with (SPIR-V specification, section 2.3). Nothing here reads more of it.
pub(crate) const SPIR_V: [u8; 4] = 0x0723_0203_u32.to_le_bytes();
/// Bytes of an entry point's name.
pub(crate) const ENTRY_BYTES_MAX: usize = adit_abi::GPU_ENTRY_BYTES_MAX as usize;
/// Storage buffers of a pipeline (WebGPU, section 3.6.2: `maxStorageBuffersPerShaderStage`).
pub(crate) const STORAGE_BINDINGS_MAX: usize = adit_abi::GPU_STORAGE_BINDINGS_MAX as usize;
/// Uniforms of a pipeline (`maxUniformBuffersPerShaderStage`).
pub(crate) const UNIFORM_BINDINGS_MAX: usize = adit_abi::GPU_UNIFORM_BINDINGS_MAX as usize;
/// Binding numbers are below this (`maxBindingsPerBindGroup`).
const BINDING_NUMBERS: u32 = adit_abi::GPU_BINDING_NUMBER_MAX as u32 + 1;
/// Invocations of a workgroup in x and in y, where a job may not have more in all (`maxComputeWorkgroupSizeX`).
pub(crate) const WORKGROUP_SIDE_MAX: u32 = 256;
/// Invocations of a workgroup in z (`maxComputeWorkgroupSizeZ`).
pub(crate) const WORKGROUP_DEPTH_MAX: u32 = 64;
/// Bytes of all private variables of a shader, and of all variables of a function (WGSL, section 2.4).
const VARIABLE_BYTES_MAX: u64 = adit_abi::GPU_VARIABLE_BYTES_MAX as u64;
/// Operations of an entry point with those of every function that it calls, once for each call: the worst that was found takes
/// lavapipe 1.3 s to compile, and the largest of our own shaders has a tenth of it.
const OPERATIONS_MAX: u64 = adit_abi::GPU_SHADER_OPERATIONS_MAX as u64;
/// What sizes of workgroup variables are rounded up to (WebGPU, section 10.3.1).
const WORKGROUP_ALIGN: u64 = 16;

/// Bytes of a message that a guest gets.
const MESSAGE_BYTES_MAX: usize = 2048;
/// What naga says, as of a mistake of its own, where it gives up: at 200 levels, and where its rules do not end as they began, which no
/// source was seen to do.
const TOO_DEEP: &str = "internal WGSL front end error";
/// What that means to the shader's author.
const TOO_DEEP_TOLD: &str = "the shader nests too deep: the compiler takes some 200 levels of parentheses, operators and blocks";

const TOO_LARGE: &str = "a variable's type is larger than any memory";

/// What is counted of an entry point.
const OPERATIONS: &str = "operations, with those of each function once per call of it";

/// Bytes of the line of source in it.
const LINE_BYTES_MAX: usize = 160;

/// What wgpu lets shaders use on a device without optional features. Half floats only as they are packed into 32 bits.
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;

/// Reads a shader and says what a pipeline of its entry point binds and is; or why a guest cannot have it, in words for its author.
pub(crate) fn check(order: &ShaderOrder) -> Result<Shape, String> {
    check_size(order)?;
    check_shader(order).map_err(|message| clip(&message, MESSAGE_BYTES_MAX).to_owned())
}

/// What can be said before anything is parsed.
pub(crate) fn check_size(order: &ShaderOrder) -> Result<(), String> {
    let within = |what: &str, bytes: usize, most: usize| {
        if bytes <= most { Ok(()) } else { Err(format!("{what} of {bytes} bytes; it has at most {most}")) }
    };
    within("a shader", order.wgsl.len(), SHADER_BYTES_MAX)?;
    within("the name of an entry point", order.entry.len(), ENTRY_BYTES_MAX)
}

fn check_shader(order: &ShaderOrder) -> Result<Shape, String> {
    let module = parse(&order.wgsl)?;
    let info = validate(&module, &order.wgsl)?;
    check_spaces(&module, &order.wgsl)?;
    let entry = find_entry(&module, &order.entry)?;
    let operations = inlined::operations(&module, &info, entry);
    within(OPERATIONS, operations, OPERATIONS_MAX, "an entry point has at most")?;
    let bindings = bindings(&module, info.get_entry_point(entry), &order.wgsl)?;
    let (reached, reached_info) = reach(&module, &info, &order.entry)?;
    check_memory(&reached, &reached_info, &order.need)?;
    let workgroup = check_workgroup(&reached.entry_points[0], &order.need)?;
    let folded = folded(&order.wgsl);
    let has_floats = has_floats(&reached, &reached_info) || folded.is_some();
    if has_floats && order.need.comparison == Comparison::Exact {
        let by = folded.map_or_else(String::new, |name| format!(" by `{name}`"));
        return Err(format!(
            "the shader computes with floats{by}, and the job declares its results comparable between any adapters (`exact`)"
        ));
    }
    let uses_atomic_results = uses_atomic_results(&reached, &reached_info);
    Ok(Shape { bindings, workgroup, has_floats, uses_atomic_results, operations })
}

fn parse(source: &str) -> Result<Module, String> {
    let mut options = wgsl::Options::new();
    options.capabilities = CAPABILITIES;
    let parsed = wgsl::Frontend::new_with_options(options).parse(source);
    parsed.map_err(|error| match error.message() {
        message if message.contains(TOO_DEEP) => TOO_DEEP_TOLD.to_owned(),
        message => explain(message, error.location(source), source),
    })
}

fn validate(module: &Module, source: &str) -> Result<ModuleInfo, String> {
    Validator::new(ValidationFlags::all(), CAPABILITIES).validate(module).map_err(|error| {
        let location = error.location(source);
        let mut message = error.as_inner().to_string();
        let mut cause = error.as_inner().source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        explain(&message, location, source)
    })
}

/// Only buffers, and memory of the shader's own, wherever they are declared.
fn check_spaces(module: &Module, source: &str) -> Result<(), String> {
    let is_ours = |variable: &GlobalVariable| match variable.space {
        AddressSpace::Uniform | AddressSpace::Private | AddressSpace::WorkGroup => true,
        AddressSpace::Storage { access } => access == StorageAccess::LOAD || access == StorageAccess::LOAD | StorageAccess::STORE,
        _ => false,
    };
    match module.global_variables.iter().find(|(_, variable)| !is_ours(variable)) {
        Some((handle, variable)) => Err(explain(
            &format!("`{}` is no buffer; a guest's shader has no textures, samplers or others", name_of(variable)),
            Some(module.global_variables.get_span(handle).location(source)),
            source,
        )),
        None => Ok(()),
    }
}

fn find_entry(module: &Module, entry: &str) -> Result<usize, String> {
    let found = module.entry_points.iter().position(|point| point.name == entry && point.stage == ShaderStage::Compute);
    found.ok_or_else(|| {
        let names: Vec<_> = module.entry_points.iter().filter(|point| point.stage == ShaderStage::Compute).collect();
        let names: Vec<_> = names.iter().map(|point| format!("`{}`", point.name)).collect();
        let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("the shader has no compute entry point `{entry}`; it has {has}")
    })
}

/// What the entry point binds, by binding.
fn bindings(module: &Module, entry: &FunctionInfo, source: &str) -> Result<Vec<BindingShape>, String> {
    let mut shapes = Vec::new();
    for (handle, variable) in module.global_variables.iter().filter(|(handle, _)| !entry[*handle].is_empty()) {
        let Some(kind) = kind_of(variable) else { continue };
        let here = |message: String| explain(&message, Some(module.global_variables.get_span(handle).location(source)), source);
        let at = variable.binding.ok_or_else(|| here(format!("`{}` has no binding", name_of(variable))))?;
        if at.group != 0 || at.binding >= BINDING_NUMBERS {
            let message = format!("`{}` is in group {}, binding {}", name_of(variable), at.group, at.binding);
            return Err(here(format!("{message}; there is group 0 alone, with bindings below {BINDING_NUMBERS}")));
        }
        shapes.push(BindingShape { binding: at.binding, kind, bytes_min: size(module, variable.ty)? });
    }
    shapes.sort_by_key(|shape| shape.binding);
    check_counts(&shapes)?;
    Ok(shapes)
}

fn check_counts(shapes: &[BindingShape]) -> Result<(), String> {
    let uniforms = shapes.iter().filter(|shape| shape.kind == BindingKind::Uniform).count();
    let storage = shapes.len() - uniforms;
    if storage > STORAGE_BINDINGS_MAX || uniforms > UNIFORM_BINDINGS_MAX {
        return Err(format!(
            "the entry point uses {storage} storage buffers and {uniforms} uniforms; it has at most {STORAGE_BINDINGS_MAX} and \
             {UNIFORM_BINDINGS_MAX}"
        ));
    }
    match shapes.windows(2).find(|pair| pair[0].binding == pair[1].binding) {
        Some(pair) => Err(format!("the entry point uses binding {} twice", pair[0].binding)),
        None => Ok(()),
    }
}

fn kind_of(variable: &GlobalVariable) -> Option<BindingKind> {
    match variable.space {
        AddressSpace::Uniform => Some(BindingKind::Uniform),
        AddressSpace::Storage { access } if access == StorageAccess::LOAD => Some(BindingKind::Read),
        AddressSpace::Storage { .. } => Some(BindingKind::ReadWrite),
        _ => None,
    }
}

/// What is left where only the entry point and what it uses are kept, with overridable constants at their defaults.
fn reach(module: &Module, info: &ModuleInfo, entry: &str) -> Result<(Module, ModuleInfo), String> {
    let (module, _) = process_overrides(module, info, Some((ShaderStage::Compute, entry)), &Default::default())
        .map_err(|error| format!("`override` constants have their defaults here: {error}"))?;
    let mut module = module.into_owned();
    module.entry_points.retain(|point| point.name == entry && point.stage == ShaderStage::Compute);
    compact(&mut module, KeepUnused::No);
    let info = Validator::new(ValidationFlags::all(), CAPABILITIES).validate(&module);
    let info = info.map_err(|error| format!("with the defaults of its `override` constants: {}", error.into_inner()))?;
    Ok((module, info))
}

/// Checks what variables take: of a workgroup, of the whole shader, and of each function, those included that the compiler makes.
fn check_memory(module: &Module, info: &ModuleInfo, need: &GpuNeed) -> Result<(), String> {
    let in_space = |space: AddressSpace| module.global_variables.iter().filter(move |(_, variable)| variable.space == space);
    let mut workgroup = 0_u64;
    for (_, variable) in in_space(AddressSpace::WorkGroup) {
        workgroup = workgroup.saturating_add(size(module, variable.ty)?.next_multiple_of(WORKGROUP_ALIGN));
    }
    within("bytes of workgroup memory", workgroup, need.workgroup_memory.into(), "the job's limit is")?;
    let private = total(module, in_space(AddressSpace::Private).map(|(_, variable)| variable.ty))?;
    within("bytes of private variables", private, VARIABLE_BYTES_MAX, "a shader has at most")?;
    for (function, info) in functions(module, info) {
        let own = total(module, function.local_variables.iter().map(|(_, variable)| variable.ty))?;
        within("bytes of variables in a function", own, VARIABLE_BYTES_MAX, "it has at most")?;
        let all = own.saturating_add(copied(module, function, info)?);
        let what = "bytes of variables in a function, with the arrays of others' that it looks places up in";
        within(what, all, VARIABLE_BYTES_MAX, "it has at most")?;
    }
    Ok(())
}

fn functions<'a>(module: &'a Module, info: &'a ModuleInfo) -> impl Iterator<Item = (&'a naga::Function, &'a FunctionInfo)> {
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let points = module.entry_points.iter().enumerate();
    functions.chain(points.map(|(at, point)| (&point.function, info.get_entry_point(at))))
}

/// Bytes of the arrays and matrices that are no variables, in which a function looks up places that are not known beforehand: the compiler
/// copies each to a variable for that.
fn copied(module: &Module, function: &naga::Function, info: &FunctionInfo) -> Result<u64, String> {
    let (mut bytes, mut copied, mut places) = (0_u64, HashSet::new(), HashSet::new());
    for (handle, expression) in function.expressions.iter() {
        let (base, is_known) = match *expression {
            Expression::Access { base, .. } => (base, false),
            Expression::AccessIndex { base, .. } => (base, true),
            _ => continue,
        };
        let inner = info[base].ty.inner_with(&module.types);
        // A place within one that is copied is in that copy.
        let is_within = places.contains(&base);
        if is_within || !is_known && matches!(inner, TypeInner::Array { .. } | TypeInner::Matrix { .. }) {
            places.insert(handle);
            if !is_within && copied.insert(base) {
                bytes = bytes.saturating_add(inner.try_size(module.to_ctx()).ok_or(TOO_LARGE)?.into());
            }
        }
    }
    Ok(bytes)
}

fn total(module: &Module, mut types: impl Iterator<Item = Handle<Type>>) -> Result<u64, String> {
    types.try_fold(0_u64, |sum, ty| Ok(sum.saturating_add(size(module, ty)?)))
}

/// Bytes of a type, with one element where an array has no length of its own.
fn size(module: &Module, ty: Handle<Type>) -> Result<u64, String> {
    let context: GlobalCtx<'_> = module.to_ctx();
    let bytes = module.types[ty].inner.try_size(context).map(u64::from);
    bytes.ok_or_else(|| TOO_LARGE.to_owned())
}

fn within(what: &str, value: u64, most: u64, limit: &str) -> Result<(), String> {
    if value <= most { Ok(()) } else { Err(format!("{value} {what}; {limit} {most}")) }
}

fn check_workgroup(entry: &EntryPoint, need: &GpuNeed) -> Result<[u32; 3], String> {
    let [x, y, z] = entry.workgroup_size;
    let side = need.invocations.max(WORKGROUP_SIDE_MAX);
    if x > side || y > side || z > WORKGROUP_DEPTH_MAX {
        return Err(format!(
            "workgroups of {x} x {y} x {z} invocations; a dimension has at most {side}, the third {WORKGROUP_DEPTH_MAX}"
        ));
    }
    let all = entry.workgroup_size.iter().map(|size| u64::from(*size)).product();
    within("invocations in a workgroup", all, need.invocations.into(), "the job's limit is")?;
    Ok(entry.workgroup_size)
}

/// Whether any type, variable, constant or value of the module is or has a float. What the author wrote for nothing counts, too: there is
/// no harm in it but a narrower comparison.
fn has_floats(module: &Module, info: &ModuleInfo) -> bool {
    let is_float = |inner: &TypeInner| {
        let scalar = inner.scalar_for_conversions(&module.types).or_else(|| inner.scalar());
        scalar.is_some_and(|scalar| matches!(scalar.kind, ScalarKind::Float | ScalarKind::AbstractFloat))
    };
    let in_types = module.types.iter().any(|(_, ty)| is_float(&ty.inner));
    let in_constants = || module.global_expressions.iter().any(|(handle, _)| is_float(info[handle].inner_with(&module.types)));
    let in_function = |(function, info): (&naga::Function, &FunctionInfo)| {
        function.expressions.iter().any(|(handle, _)| is_float(info[handle].ty.inner_with(&module.types)))
    };
    in_types || in_constants() || functions(module, info).any(in_function)
}

/// Whether anything is made of what an atomic operation returns: who comes first decides that, so it may differ from run to run. A plain
/// `atomicLoad` does not count: it most often stands behind a barrier.
fn uses_atomic_results(module: &Module, info: &ModuleInfo) -> bool {
    functions(module, info).any(|(function, info)| {
        let mut expressions = function.expressions.iter();
        expressions.any(|(handle, made)| matches!(made, Expression::AtomicResult { .. }) && info[handle].ref_count > 0)
    })
}

/// Functions of floats that the compiler computes by itself where it knows their arguments, with this machine's own mathematics, which may
/// differ from another's. What it folds into a constant leaves no trace.
const FOLDED: &[&str] = &[
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp", "exp2",
    "log", "log2", "pow",
];

/// The first of them that a source calls, wherever that is: there is no harm in one that is never reached but a narrower comparison.
fn folded(source: &str) -> Option<&'static str> {
    let source = without_comments(source);
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let calls = source.match_indices('(').filter_map(|(at, _)| {
        let before = source[..at].trim_end_matches(is_blank);
        let word = before.rsplit(|letter| !is_of_word(letter)).next()?;
        FOLDED.iter().find(|name| **name == word)
    });
    calls.copied().next()
}

/// Blanks (WGSL, section 3.2).
fn is_blank(letter: char) -> bool {
    is_line_end(letter) || matches!(letter, ' ' | '\t' | '\u{200e}' | '\u{200f}')
}

/// A source with a blank for each of its comments (WGSL, section 3.3), of which those with an end nest.
fn without_comments(source: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(at) = rest.find('/') {
        let (before, comment) = rest.split_at(at);
        kept.push_str(before);
        let bytes = match comment.as_bytes() {
            [b'/', b'/', ..] => comment.find(is_line_end).unwrap_or(comment.len()),
            [b'/', b'*', ..] => block_comment_bytes(comment),
            _ => 0,
        };
        kept.push(if bytes == 0 { '/' } else { ' ' });
        rest = &comment[bytes.max(1)..];
    }
    kept + rest
}

/// What ends a line (WGSL, section 3.2).
fn is_line_end(letter: char) -> bool {
    matches!(letter, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Bytes of a comment that begins here and has an end; all of them where it has none.
fn block_comment_bytes(comment: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(bytes) = comment.as_bytes().get(at..at + 2) {
        match bytes {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    comment.len()
}

fn name_of(variable: &GlobalVariable) -> &str {
    variable.name.as_deref().unwrap_or("a variable")
}

/// A message with the place that it is about.
fn explain(message: &str, at: Option<SourceLocation>, source: &str) -> String {
    let Some(at) = at.filter(|at| at.line_number > 0) else { return message.to_owned() };
    let (number, column) = (at.line_number, at.line_position);
    let line = source.lines().nth(number as usize - 1).unwrap_or_default().trim();
    let message = clip(message, MESSAGE_BYTES_MAX - 2 * LINE_BYTES_MAX);
    format!("line {number}, column {column}: {message}\n  {}", clip(line, LINE_BYTES_MAX).escape_debug())
}

/// The first bytes of a text, whole characters.
pub(super) fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests;
