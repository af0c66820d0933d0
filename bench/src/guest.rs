//! What is run: guests that are written by hand, so that a measurement needs no wasm toolchain.

use std::fmt::Write as _;

use anyhow::{Context, Result};

const ECHO: &str = include_str!("../guests/echo.wat");
const HTTP: &str = include_str!("../guests/http.wat");

/// Statements of each function of a large program; some 500 bytes of machine code.
const FUNCTION_STEPS: usize = 20;

/// A job that copies its input to its output.
pub(crate) fn echo() -> Result<Vec<u8>> {
    wat::parse_str(ECHO).context("echo.wat")
}

/// The echo inside of a program of an ordinary size: `functions` functions that are loaded and never called.
pub(crate) fn large_echo(functions: usize) -> Result<Vec<u8>> {
    let (echo, end) = ECHO.trim_end().split_at(ECHO.trim_end().len() - 1);
    let mut text = echo.to_owned();
    for n in 0..functions {
        write!(text, "(func (param i32) (result i32)")?;
        for k in 0..FUNCTION_STEPS {
            write!(text, " (i32.store (local.get 0) (i32.mul (i32.load offset={k} (local.get 0)) (i32.const {})))", n + k)?;
        }
        writeln!(text, " (i32.load (local.get 0)))")?;
    }
    wat::parse_str(text + end).context("echo.wat with functions")
}

/// A component that answers HTTP requests.
pub(crate) fn http() -> Result<Vec<u8>> {
    wat::parse_str(HTTP).context("http.wat")
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    #[test]
    fn guests_are_valid() {
        for module in [echo().unwrap(), large_echo(3).unwrap()] {
            Validator::new_with_features(WasmFeatures::WASM1).validate_all(&module).unwrap();
        }
        Validator::new().validate_all(&http().unwrap()).unwrap();
    }

    #[test]
    fn large_echo_grows_with_its_functions() {
        let [small, large] = [10, 20].map(|functions| large_echo(functions).unwrap().len() - echo().unwrap().len());
        assert!(large > small * 19 / 10 && small > 10 * FUNCTION_STEPS * 8, "{small}, {large}");
    }
}
