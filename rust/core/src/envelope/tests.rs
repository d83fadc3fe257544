use super::*;
use crate::headers::header_names;

/// An envelope with some parts replaced; a part is the text of its JSON.
fn envelope(headers: &str, properties: &str, body: &str) -> String {
    let body = base64_simd::STANDARD.encode_to_string(body);
    format!(
        "{{\"body\": \"{body}\", \"content-encoding\": \"utf-8\", \
         \"content-type\": \"application/json\", \"headers\": {headers}, \
         \"properties\": {properties}}}"
    )
}

const HEADERS: &str = "{\"lang\": \"py\", \"task\": \"shop.add\", \"id\": \"i\", \"shadow\": null, \
    \"eta\": null, \"expires\": null, \"group\": \"g\", \"group_index\": 3, \"retries\": 0, \
    \"timelimit\": [null, null], \"root_id\": \"r\", \"parent_id\": null, \
    \"argsrepr\": \"(1, '\\\"')\", \"kwargsrepr\": \"{}\", \"origin\": \"gen1@h\", \
    \"ignore_result\": false, \"replaced_task_nesting\": 0, \
    \"stamped_headers\": null, \"stamps\": {}}";
const PROPERTIES: &str = "{\"correlation_id\": \"i\", \"reply_to\": \"q\", \
    \"delivery_mode\": 2, \"delivery_info\": {\"exchange\": \"\", \"routing_key\": \"celery\"}, \
    \"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"t\"}";
const BODY: &str = "[[1, -2.5, \"é\"], {\"k\": [true, null]}, \
    {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]";

#[test]
fn a_usual_message_is_read_whole() {
    let text = envelope(HEADERS, PROPERTIES, BODY);
    let found = read(text.as_bytes()).expect("it is usual");
    assert_eq!((&*found.id, &*found.task), ("i", "shop.add"));
    let known: Vec<_> = header_names().collect();
    let names: Vec<_> = found.headers.iter().map(|(at, _)| known[*at]).collect();
    assert_eq!(
        names,
        [
            "group",
            "group_index",
            "retries",
            "root_id",
            "argsrepr",
            "kwargsrepr",
            "origin",
            "ignore_result",
            "replaced_task_nesting",
            "stamps"
        ]
    );
    assert_eq!(found.headers[4].1, JsonValue::Str("(1, '\"')".into()));
    assert_eq!(found.reply_to.as_deref(), Some("q"));
    assert_eq!(found.correlation_id.as_deref(), Some("i"));
    assert_eq!(found.exchange.as_deref(), Some(""));
    assert_eq!(found.routing_key.as_deref(), Some("celery"));
    assert_eq!((found.priority, found.is_redelivered), (Some(0), false));
    assert_eq!(found.properties.len(), 7);
    let body = found.body().expect("it is usual");
    let Arguments { args, kwargs } = arguments(&body).expect("it is usual");
    let JsonValue::Array(args) = args else {
        panic!("no array")
    };
    assert_eq!(
        args[1..],
        [JsonValue::Float(-2.5), JsonValue::Str("é".into())]
    );
    assert!(matches!(kwargs, JsonValue::Object(items) if items.len() == 1));
}

#[test]
fn a_message_with_an_unusual_header_is_left_to_kombu() {
    for (from, to) in [
        ("\"eta\": null", "\"eta\": \"2026-01-01\""),
        ("\"expires\": null", "\"expires\": \"2026-01-01\""),
        ("[null, null]", "[5, null]"),
        ("\"group_index\": 3", "\"group_index\": -1"),
        ("\"group_index\": 3", "\"group_index\": 9007199254740993"),
        ("\"group_index\": 3", "\"group_index\": 3.0"),
        ("\"retries\": 0", "\"retries\": \"0\""),
        ("\"retries\": 0", "\"retries\": true"),
        ("\"retries\": 0", "\"retries\": 99999999999999999999"),
        ("\"ignore_result\": false", "\"ignore_result\": 1"),
        ("\"stamped_headers\": null", "\"stamped_headers\": [1]"),
        ("\"stamps\": {}", "\"stamps\": []"),
        (
            "\"stamps\": {}",
            "\"stamps\": {\"a\": {\"__type__\": \"uuid\"}}",
        ),
        ("\"group\": \"g\"", "\"group\": 5"),
        ("\"shadow\": null", "\"mine\": null"),
        ("\"shadow\": null", "\"compression\": \"zlib\""),
        ("\"shadow\": null", "\"task\": \"other\""),
        ("\"shadow\": null", "\"origin\": \"\\ud800\""),
        ("\"id\": \"i\"", "\"id\": \"\""),
        ("\"id\": \"i\"", "\"id\": null"),
        ("\"id\": \"i\", ", ""),
        ("\"task\": \"shop.add\", ", ""),
        ("\"task\": \"shop.add\"", "\"task\": 5"),
    ] {
        let headers = HEADERS.replacen(from, to, 1);
        assert_ne!(headers, HEADERS, "{from}");
        let text = envelope(&headers, PROPERTIES, BODY);
        assert!(read(text.as_bytes()).is_none(), "{to}");
    }
}

#[test]
fn a_message_with_an_unusual_property_is_left_to_kombu() {
    let long = format!("\"reply_to\": \"{}\"", "q".repeat(256));
    for (from, to) in [
        ("\"reply_to\": \"q\"", long.as_str()),
        ("\"correlation_id\": \"i\"", "\"correlation_id\": 5"),
        ("\"priority\": 0", "\"priority\": \"high\""),
        ("\"priority\": 0", "\"priority\": 1.5"),
        ("\"body_encoding\": \"base64\"", "\"body_encoding\": null"),
        ("\"delivery_tag\": \"t\"", "\"delivery_tag\": \"\""),
        ("\"delivery_tag\": \"t\"", "\"delivery_tag\": null"),
        ("\"delivery_tag\": \"t\"", "\"reply_to\": \"q\""),
        ("\"exchange\": \"\"", "\"exchange\": null"),
        ("\"exchange\": \"\"", "\"redelivered\": 1"),
        ("\"exchange\": \"\"", "\"__type__\": \"uuid\""),
        ("\"delivery_mode\"", "\"__type__\""),
        (
            "\"delivery_mode\": 2",
            "\"delivery_mode\": 99999999999999999999",
        ),
        ("\"delivery_info\": {", "\"other\": {"),
    ] {
        let properties = PROPERTIES.replacen(from, to, 1);
        assert_ne!(properties, PROPERTIES, "{from}");
        let text = envelope(HEADERS, &properties, BODY);
        assert!(read(text.as_bytes()).is_none(), "{to}");
    }
}

#[test]
fn a_message_with_an_unusual_body_is_left_to_kombu() {
    for body in [
        "[[1], {}]",
        "[{}, {}, {}]",
        "[[1], [], {}]",
        "[[1], {}, []]",
        "[[1], {}, {\"chain\": []}]",
        "[[1], {}, {\"mine\": null}]",
        "[[99999999999999999999], {}, null]",
        "[[NaN], {}, null]",
        "[[{\"__type__\": \"uuid\"}], {}, null]",
        "[[1], {}, null] 5",
        "{}",
        "",
        "\u{fffd}",
    ] {
        assert!(arguments(body.as_bytes()).is_none(), "{body}");
    }
    let text = envelope(HEADERS, PROPERTIES, BODY).replacen("\"body\": \"W", "\"body\": \"*", 1);
    assert!(read(text.as_bytes()).expect("it is usual").body().is_none());
}

#[test]
fn an_unusual_envelope_is_left_to_kombu() {
    let text = envelope(HEADERS, PROPERTIES, BODY);
    for (from, to) in [
        ("utf-8", "binary"),
        ("application/json", "application/x-yaml"),
        ("{\"body\"", "{\"mine\": 1, \"body\""),
        ("\"headers\": {", "\"headers\": null, \"properties\": {"),
    ] {
        assert!(
            read(text.replacen(from, to, 1).as_bytes()).is_none(),
            "{to}"
        );
    }
    for broken in ["", "{}", "[]", "null", &text[1..], &text[..text.len() - 1]] {
        assert!(read(broken.as_bytes()).is_none(), "{broken}");
    }
    let twice = text.replacen("{\"body\"", "{\"body\": \"\", \"body\"", 1);
    assert!(read(twice.as_bytes()).is_none());
}
