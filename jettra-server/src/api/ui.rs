//! The management UI: static files that are part of the program. It is a client of the public API like any other.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::IF_NONE_MATCH;
use bytes::Bytes;
use jettra_client::wire::ErrorCode;
use rust_embed::Embed;

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::error::{Error, Result};
use crate::state::names::shown;

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/", Access::Public, Page, [], "the management page", page),
    route!(GET "/ui/{*file}", Access::Public, Page, [], "a file of the management page", file),
];

#[derive(Embed)]
#[folder = "ui/"]
struct Files;

/// Nothing is loaded from elsewhere, no script stands in the page, and no other page may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Where the page carries the node's name.
const NAME: &str = "{{node}}";

async fn page(app: &Arc<App>, request: Request) -> Result<Answer> {
    let index = Files::get("index.html").ok_or_else(|| Error::internal("the page is not part of this program"))?;
    let text = String::from_utf8_lossy(&index.data).replace(NAME, &escape(&app.cluster.identity().name));
    let tag = blake3::hash(text.as_bytes()).to_hex();
    answer(&request, "text/html; charset=utf-8", text.into(), &tag[..16])
}

async fn file(_: &Arc<App>, request: Request) -> Result<Answer> {
    let path = request.path.strip_prefix("/ui/").unwrap_or_default();
    let found = Files::get(path).zip(content_type(path));
    let (found, content_type) = found.ok_or_else(|| {
        Error::new(ErrorCode::Unsupported, format!("the page has no file {}: it begins at /", shown(path)))
    })?;
    let body = match found.data {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => bytes.into(),
    };
    let tag = crate::random::to_hex(&found.metadata.sha256_hash()[..8]);
    answer(&request, content_type, body, &tag)
}

/// The file, or that the one which the client has is still the newest. Names stay the same between versions, so a
/// client asks each time.
fn answer(request: &Request, content_type: &'static str, body: Bytes, tag: &str) -> Result<Answer> {
    let tag = format!("\"{tag}\"");
    let known = request.headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let known = known.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag);
    let answer = Answer::raw(content_type, if known { Bytes::new() } else { body })
        .header("etag", tag)
        .header("cache-control", "no-cache")
        .header("content-security-policy", POLICY)
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer");
    Ok(if known { answer.status(StatusCode::NOT_MODIFIED) } else { answer })
}

/// The type of a file that the page may load; `index.html` is only served with the node's name in it.
fn content_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_page_is_small_and_every_file_has_a_type() {
        let files: Vec<_> = Files::iter().collect();
        let size: usize = files.iter().map(|path| Files::get(path).unwrap().data.len()).sum();
        assert!(size < 256 << 10, "{size} bytes");
        for path in files.iter().filter(|path| *path != "index.html") {
            assert!(content_type(path).is_some(), "{path}");
        }
    }

    #[test]
    fn scripts_never_parse_data_as_markup_and_load_nothing_from_elsewhere() {
        let traps = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"];
        for path in Files::iter().filter(|path| path.ends_with(".js") || path.ends_with(".css")) {
            let text = String::from_utf8(Files::get(&path).unwrap().data.into_owned()).unwrap();
            for trap in traps.into_iter().chain(["import(", "@import", "setAttribute(\"style\"", "setAttribute(\"on"]) {
                assert!(!text.contains(trap), "{path} has {trap}");
            }
            let elsewhere = text.match_indices("//").filter(|(at, _)| {
                let before = &text[..*at];
                before.ends_with("http:") || before.ends_with("https:")
            });
            for (at, _) in elsewhere {
                let line = text[at..].lines().next().unwrap();
                // A name space, an example and a default: none of them is loaded.
                let known = ["//www.w3.org/2000/svg\"", "//node4:8080\"", "//localhost:8080\""];
                assert!(known.into_iter().any(|known| line.starts_with(known)), "{path} names {line}");
            }
        }
    }

    /// Every compound selector of a style sheet, with the whole selector that it is a part of.
    fn compounds(sheet: &str) -> Vec<(String, String)> {
        let comments = sheet.split("/*").enumerate();
        let text: String = comments
            .map(|(place, part)| if place == 0 { part } else { part.split_once("*/").expect("an end").1 })
            .collect();
        // What stands before a brace; in front of it ends the rule, the block or the declaration before.
        let blocks = text.match_indices('{').map(|(at, _)| {
            let before = &text[..at];
            before[before.rfind(['{', '}', ';']).map_or(0, |end| end + 1)..].trim()
        });
        let selectors = blocks.filter(|text| !text.starts_with('@') && !["from", "to"].contains(text));
        let each = selectors.flat_map(|list| {
            // A comma inside of `:not()` or `:is()` parts no selectors.
            let mut depth = 0;
            list.split(move |c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                c == ',' && depth == 0
            })
        });
        each.flat_map(|selector| {
            let parts = selector.split([' ', '>', '+', '~']).filter(|part| !part.is_empty());
            parts.map(|part| (part.to_owned(), selector.trim().to_owned())).collect::<Vec<_>>()
        })
        .collect()
    }

    /// The classes of a compound selector.
    fn classes(compound: &str) -> Vec<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let after_points =
            compound.split('.').skip(1).filter(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()));
        after_points.map(|part| part.split(|c| !is_name(c)).next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn each_sheet_styles_its_own_classes_and_no_class_is_styled_in_two() {
        const SHARED: &str = "app";
        let mut owners: std::collections::BTreeMap<String, String> = Default::default();
        let mut modifiers: std::collections::BTreeSet<String> = Default::default();
        let sheets: Vec<String> = Files::iter().filter(|path| path.ends_with(".css")).map(String::from).collect();
        let stem = |path: &str| path.rsplit('/').next().unwrap().trim_end_matches(".css").to_owned();
        assert!(sheets.len() >= 6, "{sheets:?}");
        let index = String::from_utf8(Files::get("index.html").unwrap().data.into_owned()).unwrap();
        for path in &sheets {
            assert!(index.contains(&format!("href=\"/ui/{path}\"")), "the page does not load {path}");
            let own = stem(path);
            let is_own = |class: &String| *class == own || class.starts_with(&format!("{own}-"));
            let text = String::from_utf8(Files::get(path).unwrap().data.into_owned()).unwrap();
            for (compound, selector) in compounds(&text) {
                let mut classes = classes(&compound).into_iter();
                if let Some(first) = classes.next() {
                    let before = owners.insert(first.clone(), path.clone());
                    assert!(
                        before.as_ref().is_none_or(|before| before == path),
                        "{path} and {before:?} style .{first}"
                    );
                    assert!(own == SHARED || is_own(&first), "{path} styles .{first}: its classes begin with {own}-");
                }
                modifiers.extend(classes);
                // Nothing of one page reaches into another.
                let is_bound =
                    self::classes(&selector).iter().any(is_own) || selector.contains('#') || selector.starts_with(&own);
                assert!(own == SHARED || is_bound, "{path}: {selector} is not bound to its own elements");
            }
        }
        for (class, path) in &owners {
            assert!(!modifiers.contains(class), "{path} styles .{class}, which says elsewhere how another class looks");
            let of_another = sheets.iter().map(|sheet| stem(sheet)).find(|other| {
                *other != SHARED && stem(path) == SHARED && (class == other || class.starts_with(&format!("{other}-")))
            });
            assert_eq!(of_another, None, "{path} styles .{class}");
        }
    }

    #[test]
    fn names_do_not_become_markup() {
        assert_eq!(escape("a<b>\"'&"), "a&lt;b&gt;&quot;&#39;&amp;");
    }
}
