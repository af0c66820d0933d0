struct Tile(u64);

#[adit_guest::job]
fn render(tile: Tile) -> u64 {
    tile.0
}
