struct Broken;

#[adit_guest::job]
fn render(tile: u64) -> Result<u64, Broken> {
    tile.checked_add(1).ok_or(Broken)
}
