use std::io;

use adit_guest::{Input, Output};

#[adit_guest::job]
fn output(mut input: Input, mut output: Output) -> io::Result<()> {
    io::copy(&mut input, &mut output).map(|_| ())
}
