//! What is no table, and what a table may hold.

use adit_example_analytics::{Counts, Exact, Filter, Format, Query, Ranks, Request, Summary, Value, readings};

fn query(group_by: &[&str], values: &[(&str, u32)]) -> Query {
    let values = values.iter().map(|(name, scale)| Value::new(*name, *scale)).collect();
    Query { group_by: group_by.iter().map(|name| (*name).to_owned()).collect(), values, filter: None }
}

fn csv(query: &Query, text: &str) -> Result<Summary, String> {
    let request = Request::summarise(query.clone(), Format::Csv);
    request.run(text.into()).map(|answer| answer.into_summary().unwrap()).map_err(|error| error.to_string())
}

#[test]
fn empty_cells_are_groups_of_their_own_and_no_values() {
    let summary = csv(&query(&["a"], &[("b", 1)]), "a,b\nx,1.5\n,2\nx,\n,\n").unwrap();
    let groups: Vec<_> =
        summary.groups().map(|(key, group)| (key[0].clone(), group.rows, group.values[0].count, group.values[0].sum)).collect();
    assert_eq!(groups, [(None, 2, 1, 20), (Some("x".to_owned()), 2, 1, 15)]);
}

#[test]
fn quotes_and_commas_are_read_as_rfc_4180_says() {
    let summary = csv(&query(&["a"], &[]), "a\r\n\"x, \"\"y\"\"\r\nz\"\r\n").unwrap();
    assert_eq!(summary.groups().next().unwrap().0[0].as_deref(), Some("x, \"y\"\r\nz"));
}

#[test]
fn filter_keeps_its_ends_and_empty_cells() {
    let mut query = query(&[], &[("b", 0)]);
    query.filter = Some(Filter { value: Value::new("b", 0), least: 2, most: 3 });
    let summary = csv(&query, "b,c\n1,\n2,\n3,\n4,\n,\n").unwrap();
    let (_, group) = summary.groups().next().unwrap();
    assert_eq!((group.rows, group.values[0].count, summary.filtered), (3, 2, 2));
}

#[test]
fn errors_name_the_line_and_the_column() {
    let numbers = query(&["a"], &[("b", 1)]);
    for (text, said) in [
        ("a,c\nx,1\n", "no column `b`"),
        ("a,b\nx,1\nx,1.25\n", "line 3: `1.25` in the column `b` is no number with 1 digits"),
        ("a,b\nx,1\nx\n", "separated by commas"),
        ("a,b\nx,99999999999999999999\n", "line 2"),
    ] {
        let error = csv(&numbers, text).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn parquet_of_another_scale_or_type_is_refused_by_name() {
    let table = readings::parquet(0, 10).unwrap();
    for (query, said) in [
        (query(&["site"], &[("temperature", 2)]), "`temperature` is INT32"),
        (query(&["site"], &[("site", 0)]), "`site` is BYTE_ARRAY"),
        (query(&["place"], &[]), "no column `place`"),
    ] {
        let error = Request::summarise(query, Format::Parquet).run(table.clone()).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn parquet_that_is_cut_or_spoiled_is_no_table() {
    let table = readings::parquet(0, 1_000).unwrap();
    let run = |table: Vec<u8>| Request::summarise(query(&["site"], &[("energy", 0)]), Format::Parquet).run(table);
    for length in [0, 4, 7, 100, table.len() - 1] {
        assert!(run(table[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert!(run(table).is_ok());
}

#[test]
fn quantiles_of_the_widest_numbers_are_exact() {
    let numbers = [i64::MIN, i64::MIN + 1, -1 << 40, -77, 0, 5, 1 << 40, (1 << 62) + 12_345, i64::MAX - 1, i64::MAX];
    let text = numbers.iter().fold("n\n".to_owned(), |text, number| format!("{text}{number}\n"));
    let query = query(&[], &[("n", 0)]);
    let summary = csv(&query, &text).unwrap();
    let quantiles: Vec<Ranks> = (1..=10).map(|part| Ranks::new(part, 10)).collect();
    let mut exact = Exact::new(&summary, &quantiles).unwrap();
    for _ in 0..5 {
        let ranges = exact.ranges();
        let counts = Request::count(query.clone(), ranges.clone(), Format::Csv).run(text.clone().into()).unwrap();
        let mut sum = Counts::zero(ranges.len());
        sum.merge(&counts.into_counts().unwrap()).unwrap();
        exact.narrow(&ranges, &sum).unwrap();
    }
    assert!(exact.ranges().is_empty());
    for (at, number) in numbers.iter().enumerate() {
        assert_eq!(exact.value(&Vec::new(), 0, at), Some(*number));
    }
}

#[test]
fn readings_are_the_same_on_every_machine() {
    let text = readings::csv(3, 3);
    let lines: Vec<&str> = std::str::from_utf8(&text).unwrap().lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0], "site,sensor,time,temperature,energy");
    assert_eq!(readings::csv(3, 3), text);
    assert_ne!(readings::csv(4, 3), text);
}
