//! Weights against time: how many nanoseconds a unit of fuel takes in each kernel, and which weights would bring these together.

use adit_runtime::lab::{
    COPIED_BYTE_UNITS, Class, FILLED_BYTE_UNITS, GROW_PAGE_UNITS, Options, UNITS_PER_FUEL, Weights, loop_waits,
};
use anyhow::{Context, Result, ensure};

use super::census::{self, Item};
use super::fit::{self, Sample};
use super::program::{Order, Program};
use super::variant::Variant;
use super::{Row, compare};
use crate::figure::geometric_mean;
use crate::guest;
use crate::plan::Plan;

/// Waits for memory at every step, which no weight of an operator can know: a load is a load. It is left out of the fit and of the first
/// of the two spreads.
const POINTER_CHASE: &str = "pointer_chase";
/// The price of a weight that becomes e times what it is: that of an error of a tenth in one kernel.
const STIFFNESS: f64 = 0.01;
/// Largest over smallest nanoseconds per fuel that we want, without the pointer chase and with it.
const SPREAD_MAX: [f64; 2] = [2.0, 3.5];
/// An item whose share of every kernel's fuel is smaller was not measured by this: the fit has nothing to say of it.
const SHARE_MIN: f64 = 0.02;
/// Fits, one after the other: where operators cost more, rounds that wait lack less, so each table has other waits.
const FITS: usize = 6;

/// A kernel as measured.
#[derive(Clone)]
struct Measured {
    kernel: String,
    sample: Sample,
}

/// Prints nanoseconds per fuel of each kernel, under the table that ships, under one unit for each operator, and under the table
/// that fits best; and that table. With `json`, what was measured and nothing else, a line for each kernel.
pub(crate) fn calibrate(plan: &Plan, json: bool) -> Result<()> {
    let census = Census::new(plan)?;
    let kernels = measure(&census, plan)?;
    if json {
        kernels.iter().for_each(|kernel| println!("{}", as_json(kernel)));
        return Ok(());
    }
    let shipped: Vec<f64> = Item::all().map(shipped_fuel).collect();
    let flat: Vec<f64> = Item::all().map(flat_fuel).collect();
    let (fitted, waiting) = best(&census, &kernels, &shipped)?;
    print_kernels(&[("shipped", &kernels, &shipped), ("one each", &kernels, &flat), ("fitted", &waiting, &fitted)]);
    print_items(&waiting, &shipped, &fitted);
    Ok(())
}

/// The table that fits best of those that follow each other from `shipped` on, with what the kernels count under it.
fn best(census: &Census, kernels: &[Measured], shipped: &[f64]) -> Result<(Vec<f64>, Vec<Measured>)> {
    let (mut table, mut waiting) = (shipped.to_vec(), kernels.to_vec());
    let mut best = (table.clone(), waiting.clone());
    for _ in 0..FITS {
        table = rounded(&fit_without_chase(&waiting, &table));
        waiting = census.again(kernels, &table)?;
        if spreads(&waiting, &table)[0] < spreads(&best.1, &best.0)[0] {
            best = (table.clone(), waiting.clone());
        }
    }
    Ok(best)
}

fn measure(census: &Census, plan: &Plan) -> Result<Vec<Measured>> {
    // Time is that of the guest as it runs here, with the meter in it.
    let rows = compare(&[Variant::MeterNan], |_| true, plan)?;
    ensure!(census.orders.len() == rows.len(), "the list of kernels changed");
    let metered = Program::compile(&census.wasm, Variant::MeterNan)?;
    let counts = census.counts(&Weights::standard())?;
    let kernels = census.orders.iter().zip(rows).zip(counts);
    kernels.map(|((order, row), counts)| measured(&metered, order, &row, counts)).collect()
}

/// What counts the kernels' operators.
struct Census {
    wasm: Vec<u8>,
    orders: Vec<Order>,
}

impl Census {
    fn new(plan: &Plan) -> Result<Self> {
        let wasm = guest::kernels()?;
        let orders = Program::compile(&wasm, Variant::Bare)?.orders(plan.kernel_divisor)?;
        Ok(Self { wasm, orders })
    }

    /// What each kernel comes to where operators cost what a table says.
    fn counts(&self, weights: &Weights) -> Result<Vec<Vec<f64>>> {
        let waits = loop_waits(&self.wasm, &Options { weights: weights.clone(), ..Options::default() })?;
        let counter = Program::compile(&census::instrument(&self.wasm, &waits)?, Variant::Bare).context("the counting module")?;
        let count = |order: &Order| {
            let counts = counter.run_and_read(order, census::PREFIX)?;
            ensure!(counts.len() == Item::all().count(), "{} counters", counts.len());
            Ok(counts.into_iter().map(|count| count as f64).collect())
        };
        self.orders.iter().map(count).collect()
    }

    /// The same kernels where operators cost so much fuel.
    fn again(&self, kernels: &[Measured], fuel: &[f64]) -> Result<Vec<Measured>> {
        let standard = Weights::standard();
        let units = |class| (fuel[class as usize] * UNITS_PER_FUEL as f64).round() as u32;
        let counts = self.counts(&Weights::by_class(units, |class| standard.latency(class)))?;
        let kernels = kernels.iter().zip(counts);
        Ok(kernels.map(|(kernel, counts)| kernel.with(counts)).collect())
    }
}

impl Measured {
    fn with(&self, counts: Vec<f64>) -> Self {
        Self { kernel: self.kernel.clone(), sample: Sample { ns: self.sample.ns, counts } }
    }
}

fn as_json(kernel: &Measured) -> serde_json::Value {
    let counts = Item::all().zip(&kernel.sample.counts).map(|(item, count)| (item.name().to_owned(), (*count).into()));
    serde_json::json!({
        "kernel": kernel.kernel,
        "ns": kernel.sample.ns,
        "counts": counts.collect::<serde_json::Map<String, serde_json::Value>>(),
    })
}

fn measured(metered: &Program, order: &Order, row: &Row, counts: Vec<f64>) -> Result<Measured> {
    let sample = Sample { ns: row.shortest(0), counts };
    check(order, metered.run(order)?.units as f64, &sample)?;
    Ok(Measured { kernel: order.name.clone(), sample })
}

/// Compares the meter's count with the census, which knows nothing of the meter's ways.
fn check(order: &Order, units: f64, sample: &Sample) -> Result<()> {
    let shipped: Vec<f64> = Item::all().map(shipped_fuel).collect();
    let expected = fuel(sample, &shipped) * UNITS_PER_FUEL as f64;
    ensure!((units - expected).abs() < 1.0, "{}: the meter counted {units} units, the census {expected}", order.name);
    Ok(())
}

/// What an item costs in the table that ships, in fuel.
fn shipped_fuel(item: Item) -> f64 {
    let units = match item {
        Item::Class(class) => f64::from(Weights::standard().units(class)),
        Item::CopiedByte => COPIED_BYTE_UNITS as f64,
        Item::FilledByte => FILLED_BYTE_UNITS as f64,
        Item::GrowPage => GROW_PAGE_UNITS as f64,
        Item::Wait => 1.0,
    };
    units / UNITS_PER_FUEL as f64
}

/// What the engine's own fuel and most meters have: operators that become code cost one. Sizes and waits cost nothing there.
fn flat_fuel(item: Item) -> f64 {
    match item {
        Item::Class(Class::Structure | Class::Loop) => 0.0,
        Item::CopiedByte | Item::FilledByte | Item::GrowPage | Item::Wait => 0.0,
        Item::Class(_) => 1.0,
    }
}

fn fit_without_chase(kernels: &[Measured], start: &[f64]) -> Vec<f64> {
    let chosen: Vec<&Measured> = kernels.iter().filter(|kernel| kernel.kernel != POINTER_CHASE).collect();
    // What a unit is stays as it is, since waits are in units.
    let mean = geometric_mean(&chosen.iter().map(|kernel| ns_per_fuel(kernel, start)).collect::<Vec<_>>());
    let scaled = |kernel: &&Measured| Sample { ns: kernel.sample.ns / mean, counts: kernel.sample.counts.clone() };
    let samples: Vec<Sample> = chosen.iter().map(scaled).collect();
    let mut free = measurable(&samples, start);
    // A unit that is waited is a unit.
    Item::all().zip(&mut free).filter(|(item, _)| *item == Item::Wait).for_each(|(_, free)| *free = false);
    fit::fit(&samples, start, &free, STIFFNESS)
}

/// Which items make out so much of some kernel that its time says something of them.
fn measurable(samples: &[Sample], weights: &[f64]) -> Vec<bool> {
    let share = |n: usize, sample: &Sample| sample.counts[n] * weights[n] / fuel(sample, weights);
    (0..weights.len()).map(|n| samples.iter().any(|sample| share(n, sample) >= SHARE_MIN)).collect()
}

/// In whole units, as the table has them; what cost something still does.
fn rounded(weights: &[f64]) -> Vec<f64> {
    let units = UNITS_PER_FUEL as f64;
    weights.iter().map(|weight| if *weight > 0.0 { (weight * units).round().max(1.0) / units } else { 0.0 }).collect()
}

fn ns_per_fuel(kernel: &Measured, weights: &[f64]) -> f64 {
    kernel.sample.ns / fuel(&kernel.sample, weights)
}

fn fuel(sample: &Sample, weights: &[f64]) -> f64 {
    sample.counts.iter().zip(weights).map(|(count, weight)| count * weight).sum()
}

/// Largest over smallest nanoseconds per fuel, without the pointer chase and with it.
fn spreads(kernels: &[Measured], weights: &[f64]) -> [f64; 2] {
    let spread = |with_chase: bool| {
        let values = kernels.iter().filter(|kernel| with_chase || kernel.kernel != POINTER_CHASE);
        let (low, high) = values
            .map(|kernel| ns_per_fuel(kernel, weights))
            .fold((f64::INFINITY, 0f64), |(low, high), value| (low.min(value), high.max(value)));
        high / low
    };
    [spread(false), spread(true)]
}

fn print_kernels(tables: &[(&str, &[Measured], &[f64])]) {
    print!("{:<15} {:>10} {:>12}  ns per fuel:", "kernel", "ms", "Mfuel");
    tables.iter().for_each(|(name, ..)| print!(" {name:>9}"));
    println!();
    let (_, shipped, weights) = tables[0];
    for (n, kernel) in shipped.iter().enumerate() {
        print!(
            "{:<15} {:>10.2} {:>12.2}              ",
            kernel.kernel,
            kernel.sample.ns / 1e6,
            fuel(&kernel.sample, weights) / 1e6
        );
        tables.iter().for_each(|(_, kernels, weights)| print!(" {:>9.3}", ns_per_fuel(&kernels[n], weights)));
        println!();
    }
    for (n, name) in ["without the chase", "with it"].into_iter().enumerate() {
        print!("largest over smallest, {name:<17} <= {:<7}", SPREAD_MAX[n]);
        tables.iter().for_each(|(_, kernels, weights)| print!(" {:>9.3}", spreads(kernels, weights)[n]));
        println!();
    }
}

/// The fitted table beside the shipped one, in the form in which `weights.rs` has it, with the kernel that each item matters to most.
fn print_items(kernels: &[Measured], shipped: &[f64], fitted: &[f64]) {
    let latencies = Weights::standard();
    println!("\n{:<40} {:>8} {:>8}", "fitted, in units", "shipped", "share");
    for (n, item) in Item::all().enumerate() {
        let share = |kernel: &Measured| kernel.sample.counts[n] * fitted[n] / fuel(&kernel.sample, fitted);
        let Some(most) = kernels.iter().max_by(|a, b| share(a).total_cmp(&share(b))) else { continue };
        let units = |weights: &[f64]| (weights[n] * UNITS_PER_FUEL as f64).round();
        // Latencies are not fitted: they are the processors'.
        let after = match item {
            Item::Class(class) if latencies.latency(class) > 0 => format!(" after {}", latencies.latency(class)),
            _ => String::new(),
        };
        let line = format!("{} = {}{after},", item.name(), units(fitted));
        println!("    {line:<36} {:>8} {:>6.1} % of {}", units(shipped), share(most) * 100.0, most.kernel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(name: &str, ns: f64, count: f64) -> Measured {
        Measured { kernel: name.into(), sample: Sample { ns, counts: vec![count] } }
    }

    #[test]
    fn spread_is_largest_over_smallest_with_and_without_the_chase() {
        let kernels = [kernel("a", 100.0, 50.0), kernel("b", 100.0, 100.0), kernel(POINTER_CHASE, 1_000.0, 100.0)];
        assert_eq!(spreads(&kernels, &[1.0]), [2.0, 10.0]);
    }

    #[test]
    fn an_item_without_a_share_in_any_kernel_is_not_measurable() {
        let samples = [Sample { ns: 1.0, counts: vec![99.0, 1.0, 50.0] }, Sample { ns: 1.0, counts: vec![97.0, 1.0, 0.0] }];
        assert_eq!(measurable(&samples, &[1.0, 1.0, 0.0]), [true, false, false]);
    }

    #[test]
    fn rounding_makes_nothing_free() {
        assert_eq!(rounded(&[0.0, 0.001, 0.25, 1.003]), [0.0, 1.0 / 256.0, 0.25, 257.0 / 256.0]);
    }
}
