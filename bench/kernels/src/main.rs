//! Calibration kernels: small programs of different nature, by which the meter's weights are fitted and its cost is measured.
//!
//! `kernels NAME [SIZE]` runs one and prints `NAME SIZE CHECKSUM`; work grows in proportion to the size. `kernels` alone lists them
//! with the sizes that take some 100 to 300 ms of a small core. The same program runs as a guest and on the host, and both
//! print the same checksums: none depends on the time, on randomness or on the width of a pointer, and none makes a NaN. How much work
//! it is depends on the host in one place: maps inside of the crate regex are hashed by a random seed.
#![forbid(unsafe_code)]

mod arithmetic;
mod control;
mod crypto;
mod data;
mod kernel;
mod lanes;
mod matrix;
mod memory;
mod random;
mod science;
mod text;

use std::env;
use std::process::ExitCode;

use crate::kernel::{KERNELS, Kernel};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.is_empty() {
        for kernel in KERNELS {
            println!("{} {}", kernel.name, kernel.size);
        }
        return ExitCode::SUCCESS;
    }
    match order(&arguments) {
        Ok((kernel, size)) => {
            println!("{} {size} {:016x}", kernel.name, (kernel.run)(size));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("kernels: {message}");
            ExitCode::from(2)
        }
    }
}

/// The kernel and the size that the arguments ask for.
fn order(arguments: &[String]) -> Result<(&'static Kernel, u32), String> {
    let [name, rest @ ..] = arguments else { return Err("usage: kernels [NAME [SIZE]]".to_owned()) };
    let kernel = KERNELS.iter().find(|kernel| kernel.name == name);
    let kernel = kernel.ok_or_else(|| format!("`{name}` is not a kernel; without arguments they are listed"))?;
    match rest {
        [] => Ok((kernel, kernel.size)),
        [size] => {
            size.parse().map(|size| (kernel, size)).map_err(|_| format!("`{size}` is not a size, as in `kernels {name} 100`"))
        }
        _ => Err("usage: kernels [NAME [SIZE]]".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(line: &str) -> Result<(&'static str, u32), String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        order(&arguments).map(|(kernel, size)| (kernel.name, size))
    }

    #[test]
    fn arguments_name_a_kernel_and_a_size() {
        assert_eq!(order_of("sha256 7").unwrap(), ("sha256", 7));
        let default = KERNELS.iter().find(|kernel| kernel.name == "sha256").unwrap().size;
        assert_eq!(order_of("sha256").unwrap(), ("sha256", default));
        for wrong in ["", "sha257", "sha256 x", "sha256 -1", "sha256 1 2"] {
            assert!(order_of(wrong).is_err(), "{wrong}");
        }
    }
}
