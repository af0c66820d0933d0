use adit_guest::Output;

#[adit_guest::job]
fn render(_: Output) {}
