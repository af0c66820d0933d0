//! What the guest is asked by tests that run it, over `data/sample.*`, and what it must answer: `tests/data/`, which `ADIT_BLESS=1` writes
//! anew.

use std::path::Path;

use adit_example_analytics::{Filter, Format, Query, Request, Value};
use adit_guest::Encode;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn check(name: &str, bytes: &[u8]) {
    let path = folder().join("tests/data").join(name);
    if std::env::var_os("ADIT_BLESS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == bytes, "{name} is another; ADIT_BLESS=1 writes it anew");
}

#[test]
fn a_thousand_rows_have_one_answer_in_either_format() {
    let (temperature, energy) = (Value::new("temperature", 3), Value::new("energy", 0));
    let filter = Filter { value: temperature.clone(), least: -60_000, most: 500_000 };
    let query = Query { group_by: vec!["site".to_owned()], values: vec![temperature, energy], filter: Some(filter) };
    for (format, name) in [(Format::Parquet, "parquet"), (Format::Csv, "csv")] {
        let request = Request::summarise(query.clone(), format);
        check(&format!("{name}.request"), &request.clone().encode().unwrap());
        let table = std::fs::read(folder().join("data").join(format!("sample.{name}"))).unwrap();
        check("sample.answer", &request.run(table).unwrap().encode().unwrap());
    }
}
