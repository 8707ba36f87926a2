//! Everything that can be wrong with a delivery, as the portal explains it. A test holds the classifier to it.

use pushrail_sink_core::{Class, FailureClass};

#[rustfmt::skip]
pub const FAILURES: [FailureClass; 28] = FailureClass::concat(&[&pushrail_aws::FAILURES, &{
    use Class::{Permanent, Suspended, Transient};
    [
        FailureClass::new("no_such_queue", Suspended, "There is no queue at this URL, or not for these credentials.", "Create the queue, or correct `queueUrl`, then resume the destination."),
        FailureClass::new("not_a_queue", Suspended, "The queue does not take messages of this kind.", "Check that `queueUrl` ends in `.fifo` exactly when the queue is a FIFO queue, then resume the destination."),
        FailureClass::new("key_refused", Suspended, "The queue's key in KMS does not exist, is disabled or is not ours to use.", "Allow `kms:GenerateDataKey` and `kms:Decrypt` on the queue's key, then resume the destination."),
        FailureClass::new("too_large", Permanent, "The message is larger than SQS takes (256 KB with its attributes).", "Send a smaller payload, such as a link to the data, or use an object store."),
        FailureClass::new("message_refused", Permanent, "SQS does not take this message; its neighbours were not affected.", "See the message of SQS; mend the event, then replay."),
        FailureClass::new("unanswered", Transient, "SQS did not say what became of this message.", "Nothing to do, unless it repeats: it may arrive twice, with the same event id."),
    ]
}]);
