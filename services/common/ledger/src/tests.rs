use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LEN_MAX: usize = 4096;

#[test]
fn a_commit_never_passes_an_unsettled_offset() {
    let mut ledger = Ledger::new(10, "");
    for offset in 10..15 {
        assert_eq!(ledger.receive(offset), Receipt::New);
    }
    ledger.settle(11);
    ledger.settle(13);
    assert_eq!(ledger.committable(), 10);
    ledger.settle(10);
    assert_eq!(ledger.committable(), 12);
    assert_eq!(ledger.pending(), 2);
}

#[test]
fn the_next_owner_repeats_only_what_was_under_way() {
    let mut ledger = Ledger::new(0, "");
    for offset in 0..6 {
        ledger.receive(offset);
    }
    for offset in [1, 2, 4] {
        ledger.settle(offset);
    }
    let mut next = Ledger::new(ledger.committable(), &ledger.metadata(LEN_MAX));
    let repeated: Vec<i64> = (0..6)
        .filter(|o| next.receive(*o) == Receipt::New)
        .collect();
    assert_eq!(repeated, [0, 3, 5]);
}

#[test]
fn offsets_that_kafka_skips_do_not_hold_up_the_commit() {
    let mut ledger = Ledger::new(5, "");
    ledger.receive(9);
    assert_eq!(ledger.committable(), 9);
    ledger.settle(9);
    assert_eq!(ledger.committable(), 10);
}

#[test]
fn metadata_that_is_too_long_loses_its_tail_and_nothing_else() {
    let mut ledger = Ledger::new(0, "");
    for offset in 0..2000 {
        ledger.receive(offset);
    }
    for offset in (1..2000).step_by(2) {
        ledger.settle(offset);
    }
    let text = ledger.metadata(100);
    assert!(text.len() <= 100);
    let mut next = Ledger::new(0, &text);
    let repeated: Vec<i64> = (0..2000)
        .filter(|o| next.receive(*o) == Receipt::New)
        .collect();
    assert!(
        (0..2000).step_by(2).all(|o| repeated.contains(&o)),
        "nothing unsettled is passed over"
    );
    assert!(repeated.len() < 2000, "what fits is used");
}

#[test]
fn foreign_or_broken_metadata_reads_as_nothing() {
    for text in [
        "",
        "x",
        "1",
        "1;;",
        "1;a;;1.1",
        "2;0;;1.1",
        "1;0;;1.-1",
        "1;0;;0.1",
        "1;0;;zzzzzzzzzzzzzzzzz.1",
        "é",
    ] {
        let mut ledger = Ledger::new(3, text);
        assert_eq!(ledger.receive(3), Receipt::New, "{text}");
        assert_eq!(ledger.receive(4), Receipt::New, "{text}");
    }
}

#[test]
fn marks_travel_with_the_commit() {
    let mut ledger = Ledger::new(7, "");
    ledger.set_marks(Marks {
        boots: 3,
        suspect: Some(9),
    });
    assert_eq!(
        Ledger::new(7, &ledger.metadata(LEN_MAX)).marks(),
        Marks {
            boots: 3,
            suspect: Some(9)
        }
    );
}

proptest! {
    /// Whatever is settled in whatever order, and however often the owner changes: nothing unsettled is ever passed over,
    /// and with room for the metadata nothing settled is ever repeated.
    #[test]
    fn owners_change_at_any_time_and_nothing_is_lost_or_repeated(
        steps in prop::collection::vec((0u8..10, 0usize..64), 1..300),
        gaps in prop::collection::vec(prop::bool::weighted(0.1), 400),
    ) {
        let log: Vec<i64> = (0..400).filter(|o| !gaps[*o as usize]).collect();
        let mut ledger = Ledger::new(0, "");
        let (mut read, mut under_way, mut done) = (0usize, Vec::new(), BTreeSet::new());
        for (step, pick) in steps {
            match step {
                0 => {
                    let text = ledger.metadata(LEN_MAX);
                    let committed = ledger.committable();
                    prop_assert!(under_way.iter().all(|o: &i64| *o >= committed));
                    ledger = Ledger::new(committed, &text);
                    under_way.clear();
                    read = log.partition_point(|o| *o < committed);
                }
                1..=5 if read < log.len() => {
                    let offset = log[read];
                    read += 1;
                    match ledger.receive(offset) {
                        Receipt::New => {
                            prop_assert!(!done.contains(&offset), "{offset} is repeated");
                            under_way.push(offset);
                        }
                        Receipt::Seen => prop_assert!(done.contains(&offset), "{offset} is passed over"),
                    }
                }
                _ if !under_way.is_empty() => {
                    let offset = under_way.swap_remove(pick % under_way.len());
                    ledger.settle(offset);
                    done.insert(offset);
                }
                _ => {}
            }
            prop_assert_eq!(ledger.pending(), under_way.len());
        }
    }

    #[test]
    fn any_text_is_read_without_panic(base in any::<i64>(), text in "[0-9a-z;.\\-]{0,64}") {
        let _ = Metadata::parse(base, &text);
    }
}
