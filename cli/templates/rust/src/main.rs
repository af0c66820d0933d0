//! A job: text in, text out.

use adit_guest::Raw;

#[adit_guest::job]
fn shout(text: Raw) -> Result<Raw, std::str::Utf8Error> {
    let text = text.as_str()?;
    let lines = text.lines().count() as u64;
    adit_guest::info!("shouting {lines} lines");
    let mut loud = String::with_capacity(text.len());
    for (done, line) in text.split_inclusive('\n').enumerate() {
        loud.push_str(&line.to_ascii_uppercase());
        adit_guest::progress(done as u64 + 1, lines);
    }
    Ok(loud.into())
}

#[test]
fn text_is_shouted() {
    assert_eq!(shout("who goes\nthere?".into()), Ok("WHO GOES\nTHERE?".into()));
}
