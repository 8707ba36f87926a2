//! Who gets what.

use pushrail_topology::topics;

use crate::bed::Bed;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_its_own_audit_records_as_they_are_and_nobody_elses() {
    let bed = Bed::new(&["acme", "acme-2"]).await;
    bed.create("quiet").await;
    bed.tenant("quiet", false).await;
    bed.create("stranger").await;
    let tenants = ["acme", "quiet", "acme-2", "stranger"];
    let owned = |tenant: &str, count: u128| {
        let at = tenants.iter().position(|t| *t == tenant).unwrap() as u128;
        (0..count).filter(move |number| number % 4 == at)
    };
    // Half of them are there before the feed knows any tenant.
    for number in 0..200 {
        bed.attempt(tenants[number as usize % 4], number).await;
    }
    let feed = bed.start().await;
    for number in 200..400 {
        bed.attempt(tenants[number as usize % 4], number).await;
    }
    feed.idle_after(400).await;
    for tenant in ["acme", "acme-2"] {
        let expected: Vec<u128> = owned(tenant, 400).collect();
        assert_eq!(bed.copies(tenant).await, expected, "{tenant}");
    }
    for tenant in ["quiet", "stranger"] {
        assert_eq!(bed.copies(tenant).await, [], "{tenant}");
    }
    assert_eq!(feed.metric("pushrail_feed_records_total"), 400);
    assert_eq!(feed.metric("pushrail_feed_copies_total"), 200);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_brings_records_from_then_on_and_takes_them_away() {
    let bed = Bed::new(&["acme"]).await;
    bed.create("late").await;
    bed.tenant("late", false).await;
    let feed = bed.start().await;
    for number in 0..10 {
        bed.attempt("late", number).await;
    }
    feed.idle_after(10).await;
    feed.knows(bed.tenant("late", true).await).await;
    for number in 10..20 {
        bed.attempt("late", number).await;
    }
    feed.idle_after(20).await;
    feed.knows(bed.tenant("late", false).await).await;
    for number in 20..30 {
        bed.attempt("late", number).await;
    }
    feed.idle_after(30).await;
    let expected: Vec<u128> = (10..20).collect();
    assert_eq!(bed.copies("late").await, expected);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_among_audit_records_is_counted_and_stops_nobody() {
    let bed = Bed::new(&["acme"]).await;
    let feed = bed.start().await;
    let good = crate::bed::value("acme", 0, b"{}");
    let mut not_text = good.clone();
    not_text[5 + 1 + 36 + 1] = 0xff;
    let garbage = [
        &b""[..],
        b"{\"tenant_id\":\"acme\"}",
        &good[1..],
        &good[..40],
        &[0, 0, 0, 0, 7],
        &not_text,
        &[0xff; 300],
    ];
    for (number, bytes) in garbage.iter().enumerate() {
        let number = number as u128;
        // Both partitions have both.
        bed.write(2 * number, bytes).await;
        bed.write(2 * number + 1, bytes).await;
        bed.attempt("acme", 100 + 2 * number).await;
        bed.attempt("acme", 101 + 2 * number).await;
    }
    let count = garbage.len() as u64;
    feed.idle_after(4 * count).await;
    let expected: Vec<u128> = (100..100 + 2 * count as u128).collect();
    assert_eq!(bed.copies("acme").await, expected);
    assert_eq!(feed.dropped("unreadable"), 2 * count);
    let all = bed.cluster.read_all(topics::AUDIT_ATTEMPTS).await;
    assert_eq!(all.len() as u64, 4 * count);
    feed.stop().await;
}
