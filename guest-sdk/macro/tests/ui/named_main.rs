#[adit_guest::job]
fn main(tile: u64) -> u64 {
    tile
}
