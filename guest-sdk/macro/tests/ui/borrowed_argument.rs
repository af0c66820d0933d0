#[adit_guest::job]
fn shout(text: &str) -> String {
    text.to_uppercase()
}
