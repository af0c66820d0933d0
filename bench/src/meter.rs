//! What counting costs: calibration kernels under the shipped engine, counted and not.
//!
//! All variants of a kernel run one after the other in each round, in an order that turns, and a ratio is the median of the ratios within
//! rounds: what else the machine does hits neighbours in time alike. Times are processor times of the thread.

mod calibrate;
mod census;
mod fit;
mod operators;
mod program;
mod variant;

use anyhow::{Result, ensure};

pub(crate) use self::calibrate::calibrate;
pub(crate) use self::operators::scan as scan_operators;
use self::program::{Order, Program};
use self::variant::Variant;
use crate::figure::{Figure, Goal, Title, geometric_mean, median};
use crate::guest;
use crate::plan::Plan;

/// A kernel that gains more than this by being counted does so by luck, such as another choice of the register allocator: it says
/// nothing of the meter, and the mean is taken without it.
const LUCK: f64 = 0.9;

const MEAN: Title = Title { name: "meter_mean", unit: "x", reference: "the same engine, not counting", goal: Goal::AtMost(1.07) };
const WORST: Title =
    Title { name: "meter_worst", unit: "x", reference: "the same engine, not counting", goal: Goal::AtMost(1.25) };
const BY_FUEL: Title =
    Title { name: "meter_by_fuel", unit: "x", reference: "the engine's own fuel and epochs", goal: Goal::AtMost(0.95) };

const NAN: Title = Title { name: "meter_nan", unit: "x", reference: "the meter with NaNs as they come", goal: Goal::AtMost(1.3) };
/// What the cost of canonical NaNs is told by: the meter's against the meter without, the engine's against the engine without.
const NAN_VARIANTS: [Variant; 4] = [Variant::Bare, Variant::Meter, Variant::MeterNan, Variant::EngineNan];

/// What was measured of one kernel.
#[derive(Debug, Clone)]
struct Row {
    kernel: String,
    /// Nanoseconds: of each variant, one for each round.
    ns: Vec<Vec<f64>>,
}

impl Row {
    /// Middle of the ratios of one variant to another within each round.
    fn ratio(&self, variant: usize, to: usize) -> f64 {
        median(self.ns[variant].iter().zip(&self.ns[to]).map(|(a, b)| a / b).collect())
    }

    /// The shortest time of a variant: the least disturbed.
    fn shortest(&self, variant: usize) -> f64 {
        self.ns[variant].iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// Kernels that live on floats, for the cost of canonical NaNs.
const FLOAT_KERNELS: [&str; 4] = ["mandelbrot", "nbody", "matrix_scalar", "matrix_simd"];

/// Prints tables of the kernels where `print_rows` says so, and returns the figures that have goals.
pub(crate) fn measure(plan: &Plan, print_rows: bool) -> Result<Vec<Figure>> {
    // The position of each is what the ratios below name.
    const VARIANTS: [Variant; 5] = [Variant::Bare, Variant::Fuel, Variant::FuelAndEpochs, Variant::Meter, Variant::MeterNan];
    const BARE: usize = 0;
    const FUEL_AND_EPOCHS: usize = 2;
    const METER: usize = 3;
    let rows = compare(&VARIANTS, |_| true, plan)?;
    let float_rows = compare(&NAN_VARIANTS, |name| FLOAT_KERNELS.contains(&name), plan)?;
    if print_rows {
        print_table(&VARIANTS, &rows);
        println!();
        print_table(&NAN_VARIANTS, &float_rows);
        println!();
    }
    let ratios = column(&rows, METER, BARE);
    Ok(vec![
        MEAN.ratio(geometric_mean(&without_luck(&ratios))),
        WORST.ratio(worst(&ratios)),
        BY_FUEL.ratio(geometric_mean(&column(&rows, METER, FUEL_AND_EPOCHS))),
        NAN.ratio(worst(&column(&float_rows, 2, 1))),
    ])
}

/// Runs every kernel that `wanted` names under all variants.
fn compare(variants: &[Variant], wanted: impl Fn(&str) -> bool, plan: &Plan) -> Result<Vec<Row>> {
    let wasm = guest::kernels()?;
    let programs: Vec<Program> = variants.iter().map(|variant| Program::compile(&wasm, *variant)).collect::<Result<_>>()?;
    let orders = programs[0].orders(plan.kernel_divisor)?;
    let orders: Vec<Order> = orders.into_iter().filter(|order| wanted(&order.name)).collect();
    let row = |order: &Order| Row { kernel: order.name.clone(), ns: vec![Vec::new(); variants.len()] };
    let mut rows: Vec<Row> = orders.iter().map(row).collect();
    for round in 0..plan.kernel_rounds {
        for (order, row) in orders.iter().zip(&mut rows) {
            run_round(&programs, order, round, row)?;
        }
    }
    Ok(rows)
}

/// Runs a kernel once under each variant, and checks that all of them computed the same.
fn run_round(programs: &[Program], order: &Order, round: usize, row: &mut Row) -> Result<()> {
    let mut outputs = Vec::new();
    for turn in 0..programs.len() {
        let variant = (round + turn) % programs.len();
        let run = programs[variant].run(order)?;
        row.ns[variant].push(run.cpu.as_nanos() as f64);
        outputs.push(run.output);
    }
    ensure!(outputs.iter().all(|output| *output == outputs[0]), "variants disagree: {outputs:?}");
    Ok(())
}

fn print_table(variants: &[Variant], rows: &[Row]) {
    print!("{:<15} {:>9}", "kernel", "bare ms");
    variants[1..].iter().for_each(|variant| print!(" {:>12}", variant.name()));
    println!();
    for row in rows {
        print!("{:<15} {:>9.2}", row.kernel, median(row.ns[0].clone()) / 1e6);
        (1..variants.len()).for_each(|variant| print!(" {:>12.3}", row.ratio(variant, 0)));
        println!();
    }
    let summary = |name: &str, of: &dyn Fn(&[f64]) -> f64| {
        print!("{name:<25}");
        for variant in 1..variants.len() {
            print!(" {:>12.3}", of(&column(rows, variant, 0)));
        }
        println!();
    };
    summary("geometric mean", &geometric_mean);
    summary("without luck (< 0.9)", &|ratios| geometric_mean(&without_luck(ratios)));
    summary("worst", &worst);
}

fn column(rows: &[Row], variant: usize, to: usize) -> Vec<f64> {
    rows.iter().map(|row| row.ratio(variant, to)).collect()
}

fn without_luck(ratios: &[f64]) -> Vec<f64> {
    ratios.iter().copied().filter(|ratio| *ratio >= LUCK).collect()
}

fn worst(ratios: &[f64]) -> f64 {
    ratios.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_the_middle_of_the_ratios_within_rounds() {
        // In the second round the machine was four times as slow, and in the third it slowed down between the two.
        let row = Row { kernel: "k".into(), ns: vec![vec![100.0, 400.0, 100.0], vec![110.0, 440.0, 300.0]] };
        assert!((row.ratio(1, 0) - 1.1).abs() < 1e-9);
        assert_eq!(row.shortest(1), 110.0);
    }
}
