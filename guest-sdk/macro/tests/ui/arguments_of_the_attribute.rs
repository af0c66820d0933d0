#[adit_guest::job(fuel = 10)]
fn render(tile: u64) -> u64 {
    tile
}
