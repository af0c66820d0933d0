#[adit_guest::job]
async fn render(tile: u64) -> u64 {
    tile
}
