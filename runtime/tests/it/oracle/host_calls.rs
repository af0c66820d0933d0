//! The host interface: guests that call it with whatever they like end as the protocol says, at a bounded cost, twice in the same way.

use adit_protocol::{BlobRef, ByteCount, Fuel, JobSpec, Outcome};
use adit_runtime::lab::{Lab, OptLevel, Options, Program, Report, Strategy, admit, config, host_functions};
use arbitrary::{Result, Unstructured};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection, Instruction as I, MemArg,
    MemorySection, MemoryType, Module, ValType,
};

use super::effort;
use super::modules::{import_sections, letters};

/// Steps of a guest, each a call or a change of what the next ones find.
const STEPS_MAX: usize = 48;
/// Bytes of memory that an input fills.
const DATA_BYTES_MAX: usize = 512;
/// Fuel of a call of the host, which is the least that one costs.
const CALL_FUEL: u64 = 150;
/// Memory that the host may touch for a job beyond what the guest may have and write: stacks, an instance, pieces on their way.
const HOST_BYTES_MAX: u64 = 16 << 20;
/// The results of the last calls, as locals of the guest.
const RESULT: u32 = 0;
const ROUND: u32 = 1;

thread_local! {
    static LAB: std::cell::RefCell<Lab> =
        std::cell::RefCell::new(Lab::new(&config(Strategy::Cranelift, OptLevel::None)).expect("this machine runs guests"));
}

/// The bytes make a guest, its specification and its input. Returns how its run ended, and how often it called the host.
pub(crate) fn check(bytes: &[u8]) -> Option<(Outcome, u64)> {
    let mut bytes = Unstructured::new(bytes);
    let Given { spec, input, named } = job(&mut bytes).ok()?;
    let named = [&*named[0], &*named[1]];
    let wasm = guest(&mut bytes).ok()?;
    admit(&wasm).expect("the guest is a command that imports what guests have");
    LAB.with_borrow_mut(|lab| {
        let program = lab.compile(&wasm, &Options::default()).expect("what is admitted compiles");
        let first = run(lab, &program, &spec, &input, &named);
        let second = run(lab, &program, &spec, &input, &named);
        assert_eq!(told(&first), told(&second), "a second run of the same job");
        Some((first.run.outcome, first.run.usage.host_calls))
    })
}

fn run(lab: &mut Lab, program: &Program, spec: &JobSpec, input: &[u8], named: &[&[u8]]) -> Report {
    let (report, effort) = effort::of(|| lab.run_with(program, spec, input, named));
    let report = report.expect("no guest breaks its host");
    let limits = &spec.limits;
    let usage = report.run.usage;
    let may_touch = limits.memory.0 + limits.output.0 + limits.log.0 + HOST_BYTES_MAX;
    assert!(effort.touched <= may_touch, "the host touched {} bytes: {usage:?}", effort.touched);
    assert!(usage.fuel <= limits.fuel && usage.memory_peak <= limits.memory && usage.bytes_out <= limits.output, "{usage:?}");
    assert!(usage.host_calls <= usage.fuel.0 / CALL_FUEL + 1, "calls of the host without a price: {usage:?}");
    assert_eq!(usage.bytes_out.0, report.output.len() as u64);
    assert!(report.log.len() as u64 <= limits.log.0, "{} bytes of log", report.log.len());
    // Its clock is its own, so that it cannot wait, and nobody withdraws it.
    assert!(!matches!(report.run.outcome, Outcome::TimedOut | Outcome::Cancelled), "{:?}", report.run);
    report
}

/// All of a report that a second run must repeat.
fn told(Report { run, output, log }: &Report) -> impl PartialEq + std::fmt::Debug {
    (run.outcome, run.reason.clone(), run.usage, run.output_digest, run.log_dropped, output.clone(), log.clone())
}

/// What a guest is given.
struct Given {
    spec: JobSpec,
    input: Vec<u8>,
    named: [Vec<u8>; 2],
}

fn job(bytes: &mut Unstructured<'_>) -> Result<Given> {
    let input = bytes.arbitrary::<u8>()?;
    let input = bytes.bytes(usize::from(input % 32))?.to_vec();
    let mut spec = JobSpec::new(BlobRef::of(b"module"), BlobRef::of(&input));
    // A small one and one that is read in several pieces; their names begin as much of memory does.
    let named = [input.clone(), vec![7; 1 << 19]];
    for (name, content) in ["-", "00"].into_iter().zip(&named) {
        spec.add_input(name.parse().expect("it is a name"), BlobRef::of(content));
    }
    spec.seed = bytes.arbitrary()?;
    spec.args = (0..bytes.int_in_range(0..=3)?).map(|n: u8| "argument".repeat(n.into())).collect();
    spec.env = (0..bytes.int_in_range(0..=3)?).map(|n: u8| (format!("KEY{n}"), "value".repeat(n.into()))).collect();
    spec.limits.fuel = Fuel(*bytes.choose(&[3_000_000, 3_000_000, 300_000, 20_000])?);
    spec.limits.memory = ByteCount(*bytes.choose(&[4 << 16, 4 << 16, 16 << 16, 65_536])?);
    spec.limits.output = ByteCount(*bytes.choose(&[1 << 18, 20_000, 100, 0])?);
    spec.limits.log = ByteCount(*bytes.choose(&[1 << 16, 20_000, 100, 0])?);
    Ok(Given { spec, input, named })
}

/// A module that calls the host: a few rounds of steps, after which it logs the first page, so that what the host wrote there shows.
fn guest(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let (mut types, imports) = import_sections();
    let start = host_functions().len() as u32;
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(start);

    let pages = *bytes.choose(&[1_u64, 1, 1, 1, 2, 3, 3, 0])?;
    let maximum = *bytes.choose(&[None, Some(pages), Some(pages + 3), Some(65_536)])?;
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: pages, maximum, memory64: false, shared: false, page_size_log2: None });
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, start);
    match bytes.int_in_range(0..=15)? {
        0 if pages > 1 => {}
        1 if pages > 1 => drop(exports.export("memory", ExportKind::Func, start)),
        _ => drop(exports.export("memory", ExportKind::Memory, 0)),
    }

    let length = usize::from(bytes.arbitrary::<u16>()?) % DATA_BYTES_MAX;
    let filling = bytes.bytes(length.min(bytes.len()))?.to_vec();
    let mut data = DataSection::new();
    if pages > 0 {
        data.active(0, &ConstExpr::i32_const(0), filling);
    }
    let mut code = CodeSection::new();
    code.function(&body(bytes, pages as u32)?);

    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code)
        .section(&data);
    Ok(module.finish())
}

fn body(bytes: &mut Unstructured<'_>, pages: u32) -> Result<Function> {
    let mut function = Function::new([(2, ValType::I32)]);
    let rounds = *bytes.choose(&[1, 1, 1, 2, 50])?;
    function.instruction(&I::Loop(wasm_encoder::BlockType::Empty));
    for _ in 0..STEPS_MAX {
        if bytes.is_empty() {
            break;
        }
        step(bytes, &mut function, pages)?;
    }
    function.instruction(&I::LocalGet(ROUND)).instruction(&I::I32Const(1)).instruction(&I::I32Add);
    function.instruction(&I::LocalTee(ROUND)).instruction(&I::I32Const(rounds)).instruction(&I::I32LtU);
    function.instruction(&I::BrIf(0)).instruction(&I::End);
    if pages > 0 {
        show_page(&mut function);
    }
    function.instruction(&I::End);
    Ok(function)
}

/// Logs the first page. The log is cut where it is too long, while a long output would end the job.
fn show_page(function: &mut Function) {
    let log = host_functions().iter().position(|(_, name, ..)| *name == "log").expect("guests have a log") as u32;
    for value in [3, 0, 65_536] {
        function.instruction(&I::I32Const(value));
    }
    function.instruction(&I::Call(log));
}

fn step(bytes: &mut Unstructured<'_>, function: &mut Function, pages: u32) -> Result<()> {
    match bytes.int_in_range(0..=15)? {
        // A word in memory: most of what the host reads there are pointers and lengths.
        0..=3 if pages > 0 => {
            function.instruction(&I::I32Const(i32::from(bytes.arbitrary::<u8>()?) * 4));
            argument(bytes, function, pages)?;
            function.instruction(&I::I32Store(MemArg { offset: 0, align: 2, memory_index: 0 }));
        }
        4 => {
            function.instruction(&I::I32Const(bytes.int_in_range(0..=5)?)).instruction(&I::MemoryGrow(0));
            function.instruction(&I::LocalSet(RESULT));
        }
        _ => {
            let index = bytes.choose_index(host_functions().len())?;
            let (_, name, params, results) = host_functions()[index];
            // Most guests should go on.
            if name == "proc_exit" && !bytes.ratio(1, 8)? {
                return Ok(());
            }
            for (at, param) in letters(params).into_iter().enumerate() {
                match param {
                    ValType::I64 => long_argument(bytes, function)?,
                    // Most begin with a descriptor.
                    _ if at == 0 && params.len() > 2 => drop(function.instruction(&I::I32Const(bytes.int_in_range(0..=4)?))),
                    _ => argument(bytes, function, pages)?,
                }
            }
            function.instruction(&I::Call(index as u32));
            if results == "I" {
                function.instruction(&I::I32WrapI64);
            }
            if !results.is_empty() {
                function.instruction(&I::LocalSet(RESULT));
            }
        }
    }
    Ok(())
}

/// A descriptor, a pointer, a length: small, within the page that data fills, around the end of memory, around the end of all that
/// an index reaches, or anything.
fn argument(bytes: &mut Unstructured<'_>, function: &mut Function, pages: u32) -> Result<()> {
    let end = pages.wrapping_mul(65_536);
    // Most are what they should be, since a guest ends at the first pointer that is not its own.
    let value = match bytes.int_in_range(0..=15)? {
        0..=1 => bytes.int_in_range(0..=3)?,
        2..=10 => u32::from(bytes.arbitrary::<u8>()? % 64) * 8,
        11 => u32::from(bytes.arbitrary::<u8>()?),
        12 => {
            function.instruction(&I::LocalGet(RESULT));
            return Ok(());
        }
        13 => match bytes.int_in_range(0..=2)? {
            0 => end.wrapping_add(64).wrapping_sub(bytes.int_in_range(0..=128)?),
            1 => bytes.int_in_range::<u32>(0..=64)?.wrapping_neg(),
            _ => bytes.arbitrary()?,
        },
        _ => *bytes.choose(&[8, 48, 1024, 1025, 0x1000, 0xff00, 1 << 16, 1 << 20, 0x1000_0000, (1 << 31) - 1, 1 << 31])?,
    };
    function.instruction(&I::I32Const(value as i32));
    Ok(())
}

fn long_argument(bytes: &mut Unstructured<'_>, function: &mut Function) -> Result<()> {
    let value = match bytes.int_in_range(0..=3)? {
        0 => bytes.int_in_range::<u64>(0..=16)?,
        1 => bytes.int_in_range::<u64>(0..=16)?.wrapping_neg(),
        2 => *bytes.choose(&[1 << 63, (1 << 63) - 1, 1 << 32, u64::from(u32::MAX)])?,
        _ => bytes.arbitrary()?,
    };
    function.instruction(&I::I64Const(value as i64));
    Ok(())
}
