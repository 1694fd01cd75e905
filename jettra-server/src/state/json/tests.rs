use proptest::prelude::*;

use super::scan::MAX_DEPTH;
use super::text::unescape;
use super::*;

fn compacted(text: &str) -> Result<String, String> {
    match compact(text.as_bytes()) {
        Ok(json) => Ok(String::from_utf8(json.into_owned()).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn white_space_goes_and_everything_else_stays() {
    let text = "\t{ \"b\" : 1.50e+2 ,\r\n \"a\":[ ] , \"s\": \" x \\u00e9 \\\" \", \"o\":{ } , \"n\":[ -0 , 12345678901234567890123 ] } \n";
    let want = r#"{"b":1.50e+2,"a":[],"s":" x \u00e9 \" ","o":{},"n":[-0,12345678901234567890123]}"#;
    assert_eq!(compacted(text).unwrap(), want);
    assert!(matches!(compact(want.as_bytes()), Ok(std::borrow::Cow::Borrowed(_))));
}

#[test]
fn errors_say_what_and_where() {
    for (text, want) in [
        ("", "expected a value, found the end at byte 0"),
        ("{\"a\":1,}", "expected a key in quotes, found '}' at byte 7"),
        ("[1 2]", "expected a comma or the end of the array, found '2' at byte 3"),
        ("{\"a\" 1}", "expected a colon, found '1' at byte 5"),
        ("{\"a\":01}", "expected a comma or the end of the object, found '1' at byte 6"),
        ("-", "expected a digit, found the end at byte 1"),
        ("1.e5", "expected a digit, found 'e' at byte 2"),
        ("tru", "expected a value, found 't' at byte 0"),
        ("\"a", "a string without its end at byte 0"),
        ("\"\u{1}\"", "a control character in a string at byte 1"),
        (r#""\x""#, "an unknown escape in a string at byte 1"),
        (r#""\u12g4""#, "an escape \\u without its four hex digits at byte 1"),
        (r#""\ud800x""#, "an escape of half a surrogate pair at byte 1"),
        (r#""\ud800\u0041""#, "an escape of half a surrogate pair at byte 1"),
        (r#""\udc00""#, "an escape of half a surrogate pair at byte 1"),
        ("{} x", "there is something after the value at byte 3"),
    ] {
        assert_eq!(compacted(text).unwrap_err(), want, "{text}");
    }
    assert_eq!(compact(b"{\"a\":\"\xff\"}").unwrap_err(), JsonError::new("the text is not UTF-8", 6));
}

#[test]
fn a_key_twice_is_refused_however_it_is_written() {
    assert!(compacted(r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}"#).is_ok());
    assert_eq!(compacted(r#"{"a":1,"\u0061":2}"#).unwrap_err(), "the key \"a\" stands twice in one object at byte 7");
    for count in [2, 15, 16, 17, 18, 40] {
        let mut keys: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{{\"x\":1}}")).collect();
        assert!(compacted(&format!("{{{}}}", keys.join(","))).is_ok(), "{count}");
        for twice in 0..count {
            keys.push(format!("\"k{twice}\":0"));
            assert!(compacted(&format!("{{{}}}", keys.join(","))).is_err(), "{count} keys, k{twice} twice");
            keys.pop();
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(compacted(&nested(MAX_DEPTH)).is_ok());
    assert!(compacted(&nested(MAX_DEPTH + 1)).unwrap_err().starts_with("nested deeper than 100 levels"));
    assert!(compacted(&"[".repeat(10_000_000)).is_err());
}

#[test]
fn fields_walk_in_order_and_broken_text_ends_in_an_error() {
    let json = br#"{"a":1,"b\n":{"x":[1,"]}"]},"c":"\"","d":[]}"#;
    let fields: Vec<_> =
        Fields::of_object(json).unwrap().map(|f| f.unwrap()).map(|f| (f.key().into_owned(), f.value)).collect();
    let want: Vec<(&str, &[u8])> = vec![("a", b"1"), ("b\n", br#"{"x":[1,"]}"]}"#), ("c", br#""\"""#), ("d", b"[]")];
    assert_eq!(fields, want.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Vec<_>>());
    for broken in ["{\"a\"}", "{\"a\":}", "{\"a\":1\"b\":2}", "{a:1}", "{\"a\":[}", "{\"a\":]}", "{\"a\":1}x}"] {
        assert!(Fields::of_object(broken.as_bytes()).unwrap().any(|field| field.is_err()), "{broken}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..20)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_is_taken_and_made_compact(value in json()) {
        let small = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(compacted(&small).unwrap(), small.clone());
        prop_assert_eq!(compacted(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), small);
    }

    #[test]
    fn damage_is_judged_as_serde_judges_it(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        if cut { text.remove(at); } else { text[at] = byte; }
        // Ours refuses more: keys that stand twice. It never takes what serde refuses.
        let serde = serde_json::from_slice::<serde_json::Value>(&text);
        match (compact(&text), serde) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&ours).unwrap(), theirs),
            (Err(error), Ok(_)) => prop_assert!(error.what.contains("twice"), "{} in {:?}", error, String::from_utf8_lossy(&text)),
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{}", error),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn strings_go_there_and_back(text in any::<String>()) {
        let mut out = Vec::new();
        push_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
        prop_assert_eq!(unquote(&out).unwrap(), text.clone());
        // And as one that escapes everything.
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        prop_assert_eq!(unescape(&escaped), text.clone());
        let quoted = format!("\"{escaped}\"");
        prop_assert!(compact(quoted.as_bytes()).is_ok());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(prop::sample::select(b"{}[]\":,\\u0019.eE+-truefalsn \xc3\xa4".to_vec()), 0..40)) {
        let ours = compact(&bytes).is_ok();
        let theirs = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
        prop_assert!(!ours || theirs || bytes.iter().any(|b| b"eE".contains(b)));
        if let Ok(fields) = Fields::of_object(&bytes) { fields.for_each(drop); }
        if let Ok(fields) = Fields::of_array(&bytes) { fields.for_each(drop); }
    }
}
