//! What a customer is told. The rest of the declaration is the conformance suite's.

use pushrail_s3::S3;
use pushrail_sink_core::Adapter as _;

#[test]
fn the_guide_covers_what_a_customer_must_know() {
    let parts = [
        "s3:PutObject",
        "sts:ExternalId",
        "sts:AssumeRole",
        "kms:GenerateDataKey",
        "event_type=",
        "receivedAt",
        "eventId",
    ];
    for part in parts {
        assert!(S3::INFO.guide.contains(part), "{part}");
    }
}
