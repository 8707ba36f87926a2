//! Everything that can be wrong with a delivery, as the portal explains it. A test holds the classifier to it.

use pushrail_sink_core::{Class, FailureClass};

#[rustfmt::skip]
pub const FAILURES: [FailureClass; 30] = FailureClass::concat(&[&pushrail_aws::FAILURES, &{
    use Class::{Permanent, Suspended, Transient};
    [
        FailureClass::new("no_such_bucket", Suspended, "There is no bucket of this name.", "Create the bucket, or correct `bucket`, then resume the destination."),
        FailureClass::new("wrong_region", Suspended, "The bucket is in another region.", "Correct `region`, which the message may name, then resume the destination."),
        FailureClass::new("not_a_bucket", Suspended, "The bucket's name is not valid, or it does not take objects.", "Correct `bucket`, then resume the destination."),
        FailureClass::new("key_refused", Suspended, "The key in KMS does not exist, is disabled or is not ours to use.", "Correct `encryption.keyId`, or allow `kms:GenerateDataKey` on the key, then resume the destination."),
        FailureClass::new("not_implemented", Suspended, "The store does not know a part of the request.", "Set `skipExisting` to false, and `encryption` to what the store offers, then resume the destination."),
        FailureClass::new("too_large", Permanent, "The store does not take an object of this size, or with a key this long.", "Make batches smaller or the prefix shorter, then replay."),
        FailureClass::new("conflict", Transient, "The same object was being written at the same moment.", "Nothing to do: it is retried."),
        FailureClass::new("corrupted", Transient, "What the store got is not what was sent.", "Nothing to do, unless it repeats: then look for a proxy that changes requests."),
    ]
}]);
