//! A stored result record: Celery's meta JSON, of which only the fields are read that a waiter
//! needs.
//!
//! # Source
//! `celery.backends.base.Backend._get_result_meta` of celery 5.7.0: keys `status`, `result`,
//! `traceback`, `children`, `date_done`, ... in that order, by kombu's JSON serializer.

use crate::barrier::State;
use jiter::{Jiter, JiterResult};

pub use jiter::JsonValue;

/// The key of an object in which kombu keeps a value of a type that JSON does not have.
pub(crate) const MARK: &str = "__type__";

/// A record, as far as a waiter needs it.
#[derive(Debug, PartialEq)]
pub enum Meta<'a> {
    /// The task is on its way: PENDING, RECEIVED, STARTED, RETRY, REJECTED or a state of the
    /// user's own.
    NotReady,
    /// The task is done.
    Ready {
        /// `Success`, `Failure` or `Revoked`.
        state: State,
        /// The stored `result`; for a failure the exception's type, arguments and module.
        result: JsonValue<'a>,
    },
    /// This module cannot represent it exactly, so kombu must read it: another serializer,
    /// compression, kombu's own types, lone surrogates, numbers past 64 bits, broken text.
    Defer,
}

/// Reads a record.
#[must_use]
pub fn parse(payload: &[u8]) -> Meta<'_> {
    // Values that are skipped are not checked for UTF-8, and kombu would refuse the record.
    if payload.first() != Some(&b'{') || std::str::from_utf8(payload).is_err() {
        return Meta::Defer;
    }
    match read(payload) {
        Ok(Some(meta)) => meta,
        Ok(None) | Err(_) => Meta::Defer,
    }
}

/// `None` if a part is missing, or has another type than Celery writes.
fn read(payload: &[u8]) -> JiterResult<Option<Meta<'_>>> {
    let mut reader = Jiter::new(payload).with_allow_inf_nan();
    let mut state = None;
    let mut result = None;
    let mut key = reader.next_object()?.map(Field::named);
    while let Some(field) = key {
        match field {
            // Python keeps the last of two equal keys. Nobody writes two, so kombu decides.
            Field::Status if state.is_some() => return Ok(None),
            Field::Result if result.is_some() => return Ok(None),
            Field::Status => state = Some(ready_state(reader.next_str()?)),
            Field::Result => result = Some(reader.next_value()?),
            Field::Foreign => return Ok(None),
            Field::Other => reader.next_skip()?,
        }
        key = reader.next_key()?.map(Field::named);
    }
    reader.finish()?;
    Ok(match (state, result) {
        (Some(None), _) => Some(Meta::NotReady),
        (Some(Some(state)), Some(result)) if is_plain(&result) => {
            Some(Meta::Ready { state, result })
        }
        _ => None,
    })
}

enum Field {
    Status,
    Result,
    /// Part of kombu's envelope for a value of a type JSON does not have.
    Foreign,
    Other,
}

impl Field {
    fn named(key: &str) -> Self {
        match key {
            "status" => Self::Status,
            "result" => Self::Result,
            MARK => Self::Foreign,
            _ => Self::Other,
        }
    }
}

fn ready_state(status: &str) -> Option<State> {
    match status {
        "SUCCESS" => Some(State::Success),
        "FAILURE" => Some(State::Failure),
        "REVOKED" => Some(State::Revoked),
        _ => None,
    }
}

/// Whether Python's `json` would make the same value of it, without kombu's hook.
///
/// Recursion is bounded by the parser's own limit of 200 levels.
pub(crate) fn is_plain(value: &JsonValue<'_>) -> bool {
    match value {
        JsonValue::BigInt(_) => false,
        JsonValue::Array(items) => items.iter().all(is_plain),
        JsonValue::Object(items) => items
            .iter()
            .all(|(key, value)| key != MARK && is_plain(value)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(result: &str) -> String {
        format!(
            "{{\"status\": \"SUCCESS\", \"result\": {result}, \"traceback\": null, \
             \"children\": [], \"date_done\": \"2026-01-01T00:00:00+00:00\", \"task_id\": \"x\"}}"
        )
    }

    #[test]
    fn a_ready_record_gives_state_and_result() {
        let text = record("[1, -2.5, \"a\\u00e9\", null, true, {\"k\": NaN}]");
        let Meta::Ready { state, result } = parse(text.as_bytes()) else {
            panic!("not ready")
        };
        assert_eq!(state, State::Success);
        let JsonValue::Array(items) = result else {
            panic!("not an array")
        };
        assert_eq!(items[2], JsonValue::Str("aé".into()));
    }

    #[test]
    fn what_is_under_way_is_not_ready() {
        for status in ["STARTED", "RETRY", "PENDING", "PROGRESS"] {
            let text = format!("{{\"status\": \"{status}\", \"result\": {{\"a\": 1}}}}");
            assert_eq!(parse(text.as_bytes()), Meta::NotReady);
        }
    }

    #[test]
    fn what_has_no_exact_form_here_is_deferred() {
        let results = [
            "{\"__type__\": \"uuid\", \"__value__\": \"x\"}",
            "[{\"a\": {\"__type__\": 1}}]",
            "123456789012345678901234567890",
            "\"\\ud800\"",
            "[1,",
        ];
        for result in results {
            assert_eq!(parse(record(result).as_bytes()), Meta::Defer, "{result}");
        }
        assert_eq!(
            parse(b"\0celery-compressed\0application/x-gzip\0.."),
            Meta::Defer
        );
        assert_eq!(parse(b"\x80\x04\x95"), Meta::Defer);
        assert_eq!(parse(b""), Meta::Defer);
        assert_eq!(parse(b"{}"), Meta::Defer);
        assert_eq!(parse(b"{\"status\": 1, \"result\": 2}"), Meta::Defer);
        assert_eq!(parse(b"{\"status\": \"SUCCESS\"}"), Meta::Defer);
        assert_eq!(
            parse(b"{\"status\":\"SUCCESS\",\"result\":1}{"),
            Meta::Defer
        );
        assert_eq!(
            parse(b"{\"status\":\"SUCCESS\",\"result\":1,\"x\":\"\xff\"}"),
            Meta::Defer
        );
        assert_eq!(
            parse(b"{\"status\":\"SUCCESS\",\"result\":1,\"result\":2}"),
            Meta::Defer
        );
    }
}
