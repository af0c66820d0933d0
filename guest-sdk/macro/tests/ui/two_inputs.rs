#[adit_guest::job]
fn add(x: u64, y: u64) -> u64 {
    x + y
}
