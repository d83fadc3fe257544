use super::*;

const TRACE: &str = "Traceback (most recent call last):\n  File \"/app/shop.py\", line 7, in run\n    \
                     load(x)\n  File \"/venv/lib/python3.11/site-packages/db.py\", line 90, in get\n    \
                     raise E\nE: no\n";

fn record(exc_type: &str, message: &str, traceback: &str) -> String {
    let traceback = serde_json::to_string(traceback).unwrap_or_default();
    format!(
        "{{\"status\": \"FAILURE\", \"result\": {{\"exc_type\": \"{exc_type}\", \
         \"exc_message\": {message}, \"exc_module\": \"m\"}}, \"traceback\": {traceback}, \
         \"task_id\": \"x\"}}"
    )
}

fn read(records: &[String]) -> Vec<Group> {
    let mut failures = Failures::new();
    for (index, record) in (0..).zip(records) {
        assert_eq!(failures.read(index, record.as_bytes()), Found::Failure);
    }
    failures.ranked().into_iter().cloned().collect()
}

#[test]
fn failures_of_one_type_and_place_are_one_group_the_largest_first() {
    let other = TRACE.replace("line 7", "line 9");
    let groups = read(&[
        record("A", "[\"first\"]", TRACE),
        record("B", "[]", TRACE),
        record("B", "[\"later\"]", TRACE),
        record("A", "[\"elsewhere\"]", &other),
        record("B", "[1, \"x\"]", TRACE),
    ]);
    let told: Vec<_> = groups
        .iter()
        .map(|group| (group.exc_type.as_str(), group.count, group.indices.clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("B", 3, vec![1, 2, 4]),
            ("A", 1, vec![0]),
            ("A", 1, vec![3])
        ]
    );
    assert_eq!(groups[1].message, "first");
    let frame = groups[0].frame.as_ref();
    let told = frame.map(|frame| (frame.file.as_str(), frame.line, frame.function.as_str()));
    assert_eq!(told, Some(("/app/shop.py", 7, "run")));
}

#[test]
fn examples_are_few_and_the_count_is_exact() {
    let records: Vec<_> = (0..50).map(|_| record("A", "[]", TRACE)).collect();
    let groups = read(&records);
    assert_eq!((groups[0].count, groups[0].indices.len()), (50, EXAMPLES));
}

#[test]
fn of_foreign_frames_alone_the_last_one_counts() {
    let foreign = TRACE.replace("/app/shop.py", "/usr/lib/python3.11/json.py");
    let frame = last_frame(&foreign).and_then(Frame::parsed);
    assert_eq!(frame.map(|frame| frame.line), Some(90));
}

#[test]
fn of_a_chain_of_exceptions_the_frame_of_the_last_counts() {
    let chained = format!(
        "{TRACE}\nThe above exception was the direct cause\n\n{}",
        TRACE.replace("line 7", "line 8")
    );
    let frame = last_frame(&chained).and_then(Frame::parsed);
    assert_eq!(frame.map(|frame| frame.line), Some(8));
}

#[test]
fn a_text_that_only_looks_like_a_frame_is_none() {
    assert_eq!(last_frame("ValueError: File \"x\", line 3, in y"), None);
    assert_eq!(last_frame("  File \"x\" is missing"), None);
    let grouped = "  | Traceback\n  |   File \"/a.py\", line 1, in f\n";
    assert_eq!(last_frame(grouped), Some("File \"/a.py\", line 1, in f"));
}

#[test]
fn messages_are_told_as_their_class_was_given_them() {
    assert_eq!(text_of(b"[\"a\\nb\"]"), "a\nb");
    assert_eq!(text_of(b"\"text\""), "text");
    assert_eq!(text_of(b"[1, {\"a\": null}]"), "1, {\"a\": null}");
    assert_eq!(text_of(b"[]"), "");
    let long = format!("[\"{}\"]", "ä".repeat(600));
    assert_eq!(text_of(long.as_bytes()).chars().count(), 503);
}

#[test]
fn what_is_no_failure_or_has_no_exact_form_is_not_counted() {
    let mut failures = Failures::new();
    let success = b"{\"status\": \"SUCCESS\", \"result\": 1}";
    assert_eq!(failures.read(0, success), Found::Other);
    for record in [
        &b"\x80\x04\x95"[..],
        b"{}",
        b"{\"status\": \"FAILURE\", \"result\": \"text\", \"traceback\": null}",
        b"{\"status\": \"FAILURE\", \"result\": {\"__type__\": \"x\"}}",
        b"{\"status\": \"FAILURE\", \"result\": {\"exc_type\": \"\\ud800\"}}",
        b"{\"status\": \"FAILURE\", \"result\": {\"exc_type\": \"A\"}",
        b"{\"status\": \"FAILURE\", \"result\": {\"exc_type\": 1}}",
    ] {
        assert_eq!(failures.read(0, record), Found::Defer);
    }
    assert!(failures.ranked().is_empty());
}
