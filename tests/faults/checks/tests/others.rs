use super::*;
use crate::clients::document;
use crate::ending::Held;
use crate::history::Repeat;

const ALIKE: &str = "all watchers are told the same";
const EQUALS: &str = "the feed is what was acknowledged";
const ONCE: &str = "each write is applied once";
const VIEWS: &str = "each read is a state that there was";

#[test]
fn revisions_go_upwards_with_time_over_all_documents() {
    const ORDER: &str = "revisions go upwards";
    let save = |tag| Op::Save { tag };
    let begun = || Story::new().on(GROUP, (0, 1), save(1), written(10));
    begun().call((0, 5), save(2), written(9)).holds(ORDER);
    begun().call((2, 5), save(2), written(9)).refuted(ORDER, &["save v1", "save v2"]);
    begun().call((2, 5), READ, seen(None, 10)).holds(ORDER);
    begun().call((2, 5), READ, seen(None, 9)).refuted(ORDER, &["save v1", "index 9"]);
    begun().call((2, 5), LOCAL, seen(None, 9)).holds(ORDER);
}

#[test]
fn a_torn_group_is_found_and_so_is_what_nobody_wrote() {
    let torn = Story::new().on(GROUP, (0, 1), READ, Outcome::Wrong("torn: 1 of 2 documents: v1".to_owned()));
    torn.refuted("groups are seen whole", &["1 of 2"]);
    torn.holds("answers are such");
    let text = r#"{"_id":"a","v":7,"pad":"mixed up"}"#;
    let garbled = document("a", &serde_json::from_str(text).unwrap()).unwrap_err();
    let garbled = Story::new().call((0, 1), READ, Outcome::Wrong(garbled));
    garbled.refuted("answers are such", &["mixed up"]);
    garbled.holds("groups are seen whole");
}

#[test]
fn a_node_does_not_go_back_on_one_connection() {
    const MONOTONIC: &str = "local reads never go back";
    let feed = [told_save(10, 1), told_save(11, 2), of_group(12, 0, 5), of_group(12, 1, 5), progress(12)];
    let begun = || Story::new().told("node1", &feed).call((0, 1), LOCAL, seen(saved(2), 11)).over(1);
    begun().call((2, 3), LOCAL, seen(saved(2), 11)).over(1).holds(MONOTONIC);
    begun().call((2, 3), LOCAL, seen(saved(1), 10)).over(2).holds(MONOTONIC);
    begun().call((2, 3), LOCAL, seen(saved(1), 10)).over(1).refuted(MONOTONIC, &["node1/1", "before 11"]);
    begun().call((2, 3), LOCAL, seen(None, 11)).over(1).refuted(MONOTONIC, &["not there"]);
    // Of one document and then of another.
    let query = |content: Option<Content>, index| Outcome::Seen { content, rev: None, index: Some(index) };
    let ahead = || Story::new().told("node1", &feed).on(GROUP, (0, 1), LOCAL, query(saved(5), 12)).over(1);
    ahead().call((2, 3), LOCAL, seen(saved(2), 11)).over(1).holds(MONOTONIC);
    ahead().call((2, 3), LOCAL, seen(saved(1), 10)).over(1).refuted(MONOTONIC, &["before 12"]);
    ahead().on(GROUP, (2, 3), LOCAL, query(None, 11)).over(1).refuted(MONOTONIC, &["before 12"]);
}

#[test]
fn min_index_is_honoured() {
    const HONOURED: &str = "min_index is honoured";
    let local = Op::Read { fresh: Fresh::Local, min_index: Some(11) };
    let begun =
        || Story::new().call((0, 1), Op::Save { tag: 1 }, written(10)).call((2, 3), Op::Save { tag: 2 }, written(11));
    begun().call((4, 5), local, seen(saved(2), 11)).holds(HONOURED);
    begun().call((4, 5), local, seen(saved(1), 10)).refuted(HONOURED, &["index 10"]);
    let old = Outcome::Seen { content: saved(1), rev: Some(10), index: Some(11) };
    begun().call((4, 5), local, old).refuted(HONOURED, &["save v2", "v1, rev 10"]);
}

#[test]
fn watchers_are_told_each_change_once_and_in_order() {
    let whole = [told_save(10, 1), progress(10), told_save(11, 2), progress(12)];
    let story = |events: &[Event]| Story::new().told("node1", &whole).told("node2", events).last(12);
    story(&whole).holds(ALIKE);
    story(&[told_save(10, 1), told_save(11, 2), progress(12)]).holds(ALIKE);
    let gap = [told_save(10, 1), Event::Opened { from: Position::after(10) }, progress(12)];
    story(&gap).refuted(ALIKE, &["watcher of node2 was not told what that of node1", "11.0"]);
    let twice = [told_save(10, 1), told_save(10, 1), told_save(11, 2), progress(12)];
    story(&twice).refuted(ALIKE, &["twice"]);
    story(&[told_save(11, 2), told_save(10, 1), progress(12)]).refuted(ALIKE, &["out of order"]);
    story(&[told_save(10, 1), progress(11), told_save(11, 2), progress(12)])
        .refuted(ALIKE, &["11.0 was told after 11"]);
    story(&[told_save(10, 1), told_save(11, 3), progress(12)]).refuted(ALIKE, &["11.0"]);
    story(&[told_save(10, 1), told_save(11, 2), progress(11)]).refuted(ALIKE, &["up to 11 and not up to 12"]);
    // What is no longer kept is left out, and nothing else.
    story(&[told_save(10, 1), change(11, Told::SavedUnseen), progress(12)]).holds(ALIKE);
    story(&[told_save(10, 1), change(11, Told::Deleted), progress(12)]).refuted(ALIKE, &["11.0"]);
    let compacted = story(&[Event::Compacted, told_save(11, 2), progress(12)]);
    assert!(matches!(compacted.verdict(ALIKE), Verdict::Unknown(_)));
}

#[test]
fn a_node_that_is_gone_was_told_what_it_was_told() {
    let mut story = Story::new().told("node1", &[told_save(10, 1), told_save(11, 2), progress(12)]).last(12);
    story = story.told("node2", &[told_save(10, 1), progress(10)]);
    story.refuted(ALIKE, &["up to 10"]);
    story.0.feeds[1].is_gone = true;
    story.holds(ALIKE);
}

#[test]
fn the_feed_has_each_acknowledged_write_and_no_other() {
    let feed = [told_save(10, 1), change(11, Told::Deleted), progress(12)];
    let begun = || Story::new().call((0, 1), Op::Save { tag: 1 }, written(10)).told("node1", &feed);
    begun().call((2, 3), Op::Delete, written(11)).holds(EQUALS);
    begun().call((2, 3), Op::Delete, unknown()).holds(EQUALS);
    begun().refuted(EQUALS, &["nobody wrote", "Deleted"]);
    // A delete of what is not there is in no feed.
    begun().call((2, 3), Op::Delete, written(11)).call((4, 5), Op::Delete, written(12)).holds(EQUALS);
    let missing = begun().call((2, 3), Op::Delete, written(11)).call((4, 5), Op::Save { tag: 2 }, written(12));
    missing.refuted(EQUALS, &["save v2", "nothing"]);
    let other = begun().call((2, 3), Op::Save { tag: 2 }, written(11));
    other.refuted(EQUALS, &["save v2", "Deleted"]);
    let refused = Story::new()
        .call((0, 1), Op::Save { tag: 1 }, Outcome::Refused("no_leader".to_owned()))
        .told("node1", &[told_save(10, 1), progress(10)]);
    refused.refuted(EQUALS, &["surely not done", "no_leader"]);
    let group =
        |events: &[Event]| Story::new().on(GROUP, (0, 1), Op::Save { tag: 5 }, written(10)).told("node1", events);
    group(&[of_group(10, 0, 5), of_group(10, 1, 5), progress(10)]).holds(EQUALS);
    group(&[of_group(10, 0, 5), progress(10)]).refuted(EQUALS, &["save v5"]);
}

#[test]
fn a_write_is_applied_once_and_its_repeat_gets_its_answer() {
    let feed = |events: &[Event]| {
        let written = Outcome::Written { rev: None, index: Some(12) };
        Story::new().call((0, 1), Op::Save { tag: 1 }, written).told("node1", events)
    };
    feed(&[told_save(10, 1), progress(12)]).holds(ONCE);
    feed(&[told_save(10, 1), told_save(12, 1), progress(12)]).refuted(ONCE, &["[10, 12]", "save v1"]);
    feed(&[progress(12)]).refuted(ONCE, &["never applied"]);
    let content = saved(1).unwrap();
    let restored = feed(&[told_save(10, 1), told_save(12, 1), progress(12)]).call(
        (2, 3),
        Op::Restore { content, rev: 10 },
        unknown(),
    );
    restored.holds(ONCE);
    let deleted = [told_save(10, 1), change(11, Told::Deleted), change(12, Told::Deleted), progress(12)];
    feed(&deleted).call((2, 3), Op::Delete, unknown()).refuted(ONCE, &["deleted 2 times"]);
    let patched = |rev, saved| change(rev, Told::Saved(Content { saved, patched: 7 }));
    let twice = feed(&[told_save(10, 1), patched(11, 1), patched(12, 1), progress(12)]);
    twice.call((2, 3), Op::Patch { tag: 7 }, unknown()).refuted(ONCE, &["patch p7"]);

    let mut story = feed(&[told_save(10, 1), progress(12)]);
    let call = story.0.calls[0].clone();
    story.0.repeats.push(Repeat { call, first: "200 10".to_owned(), again: "200 12".to_owned() });
    story.refuted(ONCE, &["another answer", "200 12"]);
}

#[test]
fn each_read_is_a_state_that_there_was_and_as_new_as_it_says() {
    let feed = [told_save(10, 1), told_save(11, 2), change(13, Told::Deleted), progress(20)];
    let read = |outcome| Story::new().told("node1", &feed).call((0, 1), LOCAL, outcome);
    let at = |content: Option<Content>, rev: Option<u64>, index| Outcome::Seen { content, rev, index: Some(index) };
    read(at(saved(1), Some(10), 10)).holds(VIEWS);
    // Newer than it says is fine, older is not.
    read(at(saved(2), Some(11), 10)).holds(VIEWS);
    read(at(saved(1), Some(10), 11)).refuted(VIEWS, &["older than the answer's index"]);
    read(at(saved(2), Some(10), 10)).refuted(VIEWS, &["no change of revision 10"]);
    read(at(saved(1), Some(9), 9)).refuted(VIEWS, &["no change of revision 9"]);
    read(at(None, None, 13)).holds(VIEWS);
    read(at(None, None, 12)).holds(VIEWS);
    read(at(None, None, 5)).holds(VIEWS);
    let kept = [told_save(10, 1), progress(20)];
    Story::new().told("node1", &kept).call((0, 1), LOCAL, at(None, None, 12)).refuted(VIEWS, &["it was there"]);
    let version = |content| Story::new().told("node1", &feed).call((0, 1), Op::Version { rev: 10 }, seen(content, 10));
    version(saved(1)).holds(VIEWS);
    version(saved(2)).refuted(VIEWS, &["revision 10"]);
    let group = [of_group(10, 0, 5), of_group(10, 1, 5), of_group(12, 0, 6), of_group(12, 1, 6), progress(20)];
    let query = |tag, index| Story::new().told("node1", &group).on(GROUP, (0, 1), LOCAL, at(saved(tag), None, index));
    query(5, 11).holds(VIEWS);
    query(5, 12).refuted(VIEWS, &["at index 12"]);
    query(6, 11).refuted(VIEWS, &["at index 11"]);
}

#[test]
fn in_the_end_all_hold_what_the_feed_told() {
    let text = |tag: u64| crate::clients::body("a", tag).to_string();
    let verdict = |of_one: Option<u64>, of_two: Option<u64>, digests: Option<Result<(), String>>| {
        let held = |node: &str, tag: Option<u64>| Held {
            node: node.to_owned(),
            documents: Ok(tag.map(|tag| (("documents".to_owned(), "a".to_owned()), text(tag))).into_iter().collect()),
            versions: Default::default(),
        };
        let story = Story::new()
            .call((0, 1), Op::Save { tag: 1 }, written(10))
            .told("node1", &[told_save(10, 1), progress(20)])
            .last(20);
        let end = Final { nodes: vec![held("node1", of_one), held("node2", of_two)], digests };
        check(&story.0, &end).checks.pop().unwrap().1
    };
    assert_eq!(verdict(Some(1), Some(1), Some(Ok(()))), Verdict::True);
    let refuted = |verdict: Verdict, says: &str| {
        assert!(matches!(&verdict, Verdict::False(story) if story.contains(says)), "{verdict:?}");
    };
    refuted(verdict(Some(1), None, None), "not the same on all nodes");
    refuted(verdict(Some(1), Some(2), None), "not the same on all nodes");
    refuted(verdict(None, None, None), "by the feed it is");
    refuted(verdict(Some(2), Some(2), None), "by the feed it is");
    refuted(verdict(Some(1), Some(1), Some(Err("DIFFERENT: node2".to_owned()))), "DIFFERENT");
    assert!(matches!(verdict(Some(1), Some(1), Some(Err("not compared".to_owned()))), Verdict::Unknown(_)));
}
