//! SCRAM credentials.

use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_UserScramCredentialAlteration_t as Alteration;
use rdkafka_sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERUSERSCRAMCREDENTIALS;
use rdkafka_sys::rd_kafka_event_t;
use zeroize::Zeroizing;

use super::owned::Owned;
use super::{Admin, Client, Task, ask, c_string, slice};
use crate::Error;
use crate::password::random;
use crate::user::User;

const MECHANISM: sys::rd_kafka_ScramMechanism_t =
    sys::rd_kafka_ScramMechanism_t::RD_KAFKA_SCRAM_MECHANISM_SHA_512;
const SALT_LEN: usize = 32;

impl Admin {
    /// Gives `user` this password, whether it had another or none. What crosses the wire, and what Kafka keeps, is the salted
    /// hash; librdkafka holds a copy of the password for as long as the call takes.
    pub(crate) async fn set_password(
        &self,
        user: &User,
        password: Zeroizing<String>,
        iterations: u32,
    ) -> Result<(), Error> {
        let (name, salt) = (user.name().to_owned(), random::<SALT_LEN>()?);
        self.blocking(move |client| {
            let user = c_string(&name);
            // SAFETY: all pointers are valid for as long as is said beside them, and are copied; what is returned is ours.
            let alteration = unsafe {
                let alteration = sys::rd_kafka_UserScramCredentialUpsertion_new(
                    user.as_ptr(),
                    MECHANISM,
                    iterations as i32,
                    password.as_ptr(),
                    password.len(),
                    salt.as_ptr(),
                    salt.len(),
                );
                Owned::new(
                    alteration,
                    sys::rd_kafka_UserScramCredentialAlteration_destroy,
                )
            };
            alter(client, &Task::new("set the password of", name), alteration)
        })
        .await
    }

    /// Takes the password of `user` away; a user without one is no error.
    pub(crate) async fn remove_password(&self, user: &User) -> Result<(), Error> {
        let name = user.name().to_owned();
        self.blocking(move |client| {
            let user = c_string(&name);
            // SAFETY: the name is copied; what is returned is ours.
            let alteration = unsafe {
                let alteration =
                    sys::rd_kafka_UserScramCredentialDeletion_new(user.as_ptr(), MECHANISM);
                Owned::new(
                    alteration,
                    sys::rd_kafka_UserScramCredentialAlteration_destroy,
                )
            };
            let task = Task::new("take away the password of", name);
            match alter(client, &task, alteration) {
                Err(Error::Refused { code, .. }) if code == "RESOURCE_NOT_FOUND" => Ok(()),
                done => done,
            }
        })
        .await
    }
}

fn alter(client: &Client, task: &Task, alteration: Option<Owned<Alteration>>) -> Result<(), Error> {
    let Some(alteration) = alteration else {
        return Err(task.no_answer("librdkafka does not take it"));
    };
    ask(
        client,
        RD_KAFKA_ADMIN_OP_ALTERUSERSCRAMCREDENTIALS,
        task,
        |native, options, queue| {
            let mut alterations = [alteration.ptr()];
            // SAFETY: everything is live, and copied before the call returns.
            unsafe {
                sys::rd_kafka_AlterUserScramCredentials(
                    native,
                    alterations.as_mut_ptr(),
                    alterations.len(),
                    options,
                    queue,
                );
            }
        },
        // SAFETY: `ask` gives a live event.
        |event| unsafe { altered(task, event) },
    )
}

/// # Safety
///
/// `event` must be live.
unsafe fn altered(task: &Task, event: *mut rd_kafka_event_t) -> Result<(), Error> {
    // SAFETY: the event is live, and so is everything that belongs to it.
    unsafe {
        let result = sys::rd_kafka_event_AlterUserScramCredentials_result(event);
        if result.is_null() {
            return Err(task.no_answer("an answer to something else"));
        }
        let mut count = 0;
        let responses =
            sys::rd_kafka_AlterUserScramCredentials_result_responses(result, &mut count);
        for response in slice(responses, count) {
            let error = sys::rd_kafka_AlterUserScramCredentials_result_response_error(*response);
            task.check(error)?;
        }
    }
    Ok(())
}
