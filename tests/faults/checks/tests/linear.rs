use super::*;
use crate::checks::search::{Act, Answer, BUDGET, Step, search};

const LINEARIZABLE: &str = "each document is linearizable";

fn save(tag: u64) -> Op {
    Op::Save { tag }
}

#[test]
fn calls_at_once_may_come_in_any_order_that_explains_the_reads() {
    let story = Story::new()
        .call((0, 10), save(1), written(11))
        .call((0, 10), save(2), written(10))
        .call((1, 9), READ, seen(None, 5))
        .call((2, 9), READ, seen(saved(2), 10))
        .call((12, 13), READ, seen(saved(1), 11));
    story.holds(LINEARIZABLE);
}

#[test]
fn a_stale_read_is_found_and_its_story_is_short() {
    let mut story = Story::new();
    for n in 1..=40 {
        story = story.call((n * 10, n * 10 + 5), save(n), written(n)).call(
            (n * 10 + 6, n * 10 + 8),
            READ,
            seen(saved(n), n),
        );
    }
    story.holds(LINEARIZABLE);
    let story = story.call((500, 501), READ, Outcome::Seen { content: saved(39), rev: Some(39), index: None });
    story.refuted(LINEARIZABLE, &["save v39", "save v40", "v39, rev 39"]);
    let Verdict::False(shown) = story.verdict(LINEARIZABLE) else { unreachable!() };
    assert!(shown.lines().count() <= 6, "{shown}");
}

#[test]
fn a_lost_write_is_found() {
    let lost = Story::new().call((0, 1), save(1), written(10)).call((2, 3), READ, seen(None, 10));
    lost.refuted(LINEARIZABLE, &["save v1", "not there"]);
    let overwritten =
        Story::new().call((0, 1), save(1), written(10)).call((2, 3), Op::Patch { tag: 2 }, Outcome::Missing);
    overwritten.refuted(LINEARIZABLE, &["patch p2"]);
}

#[test]
fn what_is_not_known_may_have_happened_any_time_later_or_never() {
    let begun = || Story::new().call((0, 1), save(1), written(10)).call((2, 3), save(2), unknown());
    begun().call((5, 6), READ, seen(saved(1), 10)).holds(LINEARIZABLE);
    begun().call((5, 6), READ, seen(saved(2), 11)).holds(LINEARIZABLE);
    let late = begun().call((5, 6), READ, seen(saved(1), 10)).call((7, 8), READ, seen(saved(2), 12));
    late.holds(LINEARIZABLE);
    // But once only, and not before it was asked for.
    let back = begun().call((5, 6), READ, seen(saved(2), 11)).call((7, 8), READ, seen(saved(1), 12));
    back.refuted(LINEARIZABLE, &[]);
    let early = Story::new().call((0, 1), READ, seen(saved(2), 4)).call((2, 3), save(2), unknown());
    early.refuted(LINEARIZABLE, &[]);
}

#[test]
fn an_unknown_delete_explains_an_absence_and_an_unknown_save_a_presence() {
    let delete = Story::new()
        .call((0, 1), save(1), written(10))
        .call((2, 3), Op::Delete, unknown())
        .call((4, 5), READ, seen(None, 12))
        .call((6, 7), Op::Create { tag: 3 }, written(13));
    delete.holds(LINEARIZABLE);
    let save = Story::new().call((0, 1), save(1), unknown()).call((2, 3), Op::Patch { tag: 2 }, written(10)).call(
        (4, 5),
        save(3),
        written(11),
    );
    save.holds(LINEARIZABLE);
    let nobody = Story::new().call((2, 3), Op::Patch { tag: 2 }, written(10));
    nobody.refuted(LINEARIZABLE, &[]);
}

#[test]
fn of_two_with_the_same_revision_one_wins() {
    let swap = |tag| Op::Swap { tag, rev: 10 };
    let begun = || Story::new().call((0, 1), save(1), written(10)).call((2, 9), swap(2), written(11));
    begun().call((2, 9), swap(3), Outcome::Conflict { rev: 11 }).holds(LINEARIZABLE);
    begun().call((2, 9), swap(3), written(12)).refuted(LINEARIZABLE, &["if rev 10"]);
    begun().call((2, 9), swap(3), Outcome::Conflict { rev: 10 }).refuted(LINEARIZABLE, &[]);
    begun().call((10, 11), swap(3), Outcome::Conflict { rev: 0 }).refuted(LINEARIZABLE, &[]);
    begun().call((10, 11), Op::Create { tag: 4 }, written(12)).refuted(LINEARIZABLE, &[]);
}

#[test]
fn a_conflict_names_a_revision_that_only_an_unknown_write_can_have() {
    let story = Story::new().call((0, 1), save(1), written(10)).call((2, 3), save(2), unknown()).call(
        (4, 5),
        Op::Create { tag: 3 },
        Outcome::Conflict { rev: 12 },
    );
    story.holds(LINEARIZABLE);
    let nobody = Story::new().call((0, 1), save(1), written(10)).call(
        (4, 5),
        Op::Create { tag: 3 },
        Outcome::Conflict { rev: 12 },
    );
    nobody.refuted(LINEARIZABLE, &["conflict: rev 12"]);
}

#[test]
fn a_restored_version_is_what_it_was() {
    let begun = || {
        let content = saved(1).unwrap();
        Story::new().call((0, 1), save(1), written(10)).call((2, 3), save(2), written(11)).call(
            (4, 5),
            Op::Restore { content, rev: 10 },
            written(12),
        )
    };
    begun().call((6, 7), READ, seen(saved(1), 12)).holds(LINEARIZABLE);
    begun().call((6, 7), READ, seen(saved(2), 12)).refuted(LINEARIZABLE, &["restore v1"]);
}

#[test]
fn a_write_that_was_refused_is_seen_nowhere() {
    let story = Story::new().call((0, 1), save(1), Outcome::Refused("no_leader".to_owned())).call(
        (2, 3),
        READ,
        seen(saved(1), 10),
    );
    story.refuted(LINEARIZABLE, &["read", "v1, rev 10"]);
}

#[test]
fn a_lease_counts_while_clocks_are_honest() {
    const BY_LEASE: &str = "reads by lease";
    let mut story = Story::new().call((0, 1), save(1), written(10)).call((2, 3), save(2), written(11)).call(
        (4, 5),
        LEASE,
        Outcome::Seen { content: saved(1), rev: Some(10), index: None },
    );
    story.holds(LINEARIZABLE);
    story.refuted(BY_LEASE, &["read by lease", "save v2"]);
    story.0.dishonest.push((3_000, 9_000));
    story.holds(BY_LEASE);
}

#[test]
fn a_group_is_one_document_that_queries_show_at_their_index() {
    let at = |tag, index| Outcome::Seen { content: saved(tag), rev: None, index: Some(index) };
    let begun = || Story::new().on(GROUP, (0, 9), save(1), written(10)).on(GROUP, (0, 9), save(2), written(11));
    begun().on(GROUP, (1, 8), READ, at(1, 10)).on(GROUP, (10, 11), READ, at(2, 15)).holds(LINEARIZABLE);
    begun().on(GROUP, (1, 8), READ, at(1, 11)).refuted(LINEARIZABLE, &[]);
    begun().on(GROUP, (10, 11), READ, at(1, 10)).refuted(LINEARIZABLE, &[]);
}

#[test]
fn what_would_take_for_ever_is_given_up() {
    let save = |tag| Step { start: 0, end: 100, act: Act::Save(tag), place: None, index: None, exact: false };
    let see = |content, start| Step {
        start,
        end: start + 1,
        act: Act::See { content, rev: None },
        place: None,
        index: None,
        exact: false,
    };
    // Of writes without places, all at once, one comes last, and no two do.
    let mut few: Vec<Step> = (0..8).map(save).collect();
    few.push(see(saved(3), 200));
    assert_eq!(search(&few, BUDGET), Answer::Linearizable);
    few.push(see(saved(4), 202));
    assert_eq!(search(&few, BUDGET), Answer::Not);
    let mut many: Vec<Step> = (0..40).map(save).collect();
    many.extend([see(saved(3), 200), see(saved(4), 202)]);
    assert_eq!(search(&many, 5_000), Answer::Unknown);
}
