use adit_guest::Raw;

#[adit_guest::job]
fn input(output: Raw) -> Raw {
    output
}
