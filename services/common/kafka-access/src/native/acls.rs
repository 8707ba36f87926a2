//! ACLs.

use std::ptr::{null, null_mut};

use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_AclOperation_t::{
    RD_KAFKA_ACL_OPERATION_ANY, RD_KAFKA_ACL_OPERATION_DESCRIBE, RD_KAFKA_ACL_OPERATION_READ,
    RD_KAFKA_ACL_OPERATION_WRITE,
};
use rdkafka_sys::rd_kafka_AclPermissionType_t::{
    RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
};
use rdkafka_sys::rd_kafka_ResourcePatternType_t::{
    RD_KAFKA_RESOURCE_PATTERN_ANY, RD_KAFKA_RESOURCE_PATTERN_LITERAL,
    RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
};
use rdkafka_sys::rd_kafka_ResourceType_t::{
    RD_KAFKA_RESOURCE_ANY, RD_KAFKA_RESOURCE_GROUP, RD_KAFKA_RESOURCE_TOPIC,
};
use rdkafka_sys::rd_kafka_admin_op_t::{
    RD_KAFKA_ADMIN_OP_CREATEACLS, RD_KAFKA_ADMIN_OP_DELETEACLS, RD_KAFKA_ADMIN_OP_DESCRIBEACLS,
};
use rdkafka_sys::{
    rd_kafka_AclBinding_t, rd_kafka_AclOperation_t, rd_kafka_ResourcePatternType_t,
    rd_kafka_ResourceType_t, rd_kafka_event_t,
};

use super::owned::Owned;
use super::{Admin, Task, ask, c_string, slice, string};
use crate::Error;
use crate::acl::{Acl, Filter, Found, Operation, Resource};

const EVERY_HOST: &str = "*";

impl Admin {
    /// Makes these ACLs; one that is there already is no error.
    pub(crate) async fn create_acls(&self, acls: Vec<Acl>) -> Result<(), Error> {
        let Some(first) = acls.first() else {
            return Ok(());
        };
        let task = Task::new("give rights to", &first.principal);
        self.blocking(move |client| {
            let bindings: Option<Vec<_>> = acls.iter().map(binding).collect();
            let bindings = bindings.ok_or_else(|| task.no_answer("librdkafka does not take it"))?;
            let mut pointers: Vec<_> = bindings.iter().map(Owned::ptr).collect();
            ask(
                client,
                RD_KAFKA_ADMIN_OP_CREATEACLS,
                &task,
                // SAFETY: everything is live, and copied before the call returns.
                |native, options, queue| unsafe {
                    sys::rd_kafka_CreateAcls(
                        native,
                        pointers.as_mut_ptr(),
                        pointers.len(),
                        options,
                        queue,
                    );
                },
                // SAFETY: `ask` gives a live event.
                |event| unsafe { created(&task, event) },
            )
        })
        .await
    }

    /// Takes away every ACL that `filter` means; none is no error.
    pub(crate) async fn delete_acls(&self, filter: Filter) -> Result<(), Error> {
        let task = Task::new("take rights away from", filter.name());
        self.blocking(move |client| {
            let filter = native_filter(&filter)
                .ok_or_else(|| task.no_answer("librdkafka does not take it"))?;
            ask(
                client,
                RD_KAFKA_ADMIN_OP_DELETEACLS,
                &task,
                |native, options, queue| {
                    let mut filters = [filter.ptr()];
                    // SAFETY: everything is live, and copied before the call returns.
                    unsafe {
                        sys::rd_kafka_DeleteAcls(
                            native,
                            filters.as_mut_ptr(),
                            filters.len(),
                            options,
                            queue,
                        );
                    }
                },
                // SAFETY: `ask` gives a live event.
                |event| unsafe { deleted(&task, event) },
            )
        })
        .await
    }

    /// Every ACL that `filter` means. Empty, too, where we may not ask: see [`Admin::check`].
    pub(crate) async fn describe_acls(&self, filter: Filter) -> Result<Vec<Found>, Error> {
        let task = Task::new("read the rights of", filter.name());
        self.blocking(move |client| {
            let filter = native_filter(&filter)
                .ok_or_else(|| task.no_answer("librdkafka does not take it"))?;
            ask(
                client,
                RD_KAFKA_ADMIN_OP_DESCRIBEACLS,
                &task,
                // SAFETY: everything is live, and copied before the call returns.
                |native, options, queue| unsafe {
                    sys::rd_kafka_DescribeAcls(native, filter.ptr(), options, queue);
                },
                // SAFETY: `ask` gives a live event.
                |event| unsafe { described(&task, event) },
            )
        })
        .await
    }

    /// Whether we may administer ACLs, asked by taking away what nobody has: librdkafka passes on why that is refused, and
    /// not why describing is.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let nobody = "User:psh-".to_owned();
        self.delete_acls(Filter::Principal(nobody)).await
    }
}

impl Filter {
    fn name(&self) -> &str {
        match self {
            Filter::Principal(name)
            | Filter::Resource(Resource::Topic(name) | Resource::Groups(name)) => name,
        }
    }
}

impl Resource {
    fn native(
        &self,
    ) -> (
        rd_kafka_ResourceType_t,
        rd_kafka_ResourcePatternType_t,
        &str,
    ) {
        match self {
            Resource::Topic(name) => (
                RD_KAFKA_RESOURCE_TOPIC,
                RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                name,
            ),
            Resource::Groups(prefix) => (
                RD_KAFKA_RESOURCE_GROUP,
                RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
                prefix,
            ),
        }
    }
}

impl Operation {
    fn native(self) -> rd_kafka_AclOperation_t {
        match self {
            Operation::Read => RD_KAFKA_ACL_OPERATION_READ,
            Operation::Write => RD_KAFKA_ACL_OPERATION_WRITE,
            Operation::Describe => RD_KAFKA_ACL_OPERATION_DESCRIBE,
        }
    }
}

fn binding(acl: &Acl) -> Option<Owned<rd_kafka_AclBinding_t>> {
    let (resource, pattern, name) = acl.resource.native();
    let (name, principal, host) = (
        c_string(name),
        c_string(&acl.principal),
        c_string(EVERY_HOST),
    );
    // SAFETY: the texts are live and copied; no room is given for an error's text; what is returned is ours.
    unsafe {
        let binding = sys::rd_kafka_AclBinding_new(
            resource,
            name.as_ptr(),
            pattern,
            principal.as_ptr(),
            host.as_ptr(),
            acl.operation.native(),
            RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
            null_mut(),
            0,
        );
        Owned::new(binding, sys::rd_kafka_AclBinding_destroy)
    }
}

fn native_filter(filter: &Filter) -> Option<Owned<rd_kafka_AclBinding_t>> {
    let (resource, pattern, name, principal) = match filter {
        Filter::Principal(principal) => (
            RD_KAFKA_RESOURCE_ANY,
            RD_KAFKA_RESOURCE_PATTERN_ANY,
            None,
            Some(c_string(principal)),
        ),
        Filter::Resource(of) => {
            let (resource, pattern, name) = of.native();
            (resource, pattern, Some(c_string(name)), None)
        }
    };
    let name = name.as_ref().map_or(null(), |name| name.as_ptr());
    let principal = principal
        .as_ref()
        .map_or(null(), |principal| principal.as_ptr());
    // SAFETY: the texts are null or live, and copied; no room is given for an error's text; what is returned is ours.
    unsafe {
        let filter = sys::rd_kafka_AclBindingFilter_new(
            resource,
            name,
            pattern,
            principal,
            null(),
            RD_KAFKA_ACL_OPERATION_ANY,
            RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
            null_mut(),
            0,
        );
        Owned::new(filter, sys::rd_kafka_AclBinding_destroy)
    }
}

/// # Safety
///
/// `event` must be live.
unsafe fn created(task: &Task, event: *mut rd_kafka_event_t) -> Result<(), Error> {
    // SAFETY: the event is live, and so is everything that belongs to it.
    unsafe {
        let result = sys::rd_kafka_event_CreateAcls_result(event);
        if result.is_null() {
            return Err(task.no_answer("an answer to something else"));
        }
        let mut count = 0;
        let results = sys::rd_kafka_CreateAcls_result_acls(result, &mut count);
        for result in slice(results, count) {
            task.check(sys::rd_kafka_acl_result_error(*result))?;
        }
    }
    Ok(())
}

/// # Safety
///
/// `event` must be live.
unsafe fn deleted(task: &Task, event: *mut rd_kafka_event_t) -> Result<(), Error> {
    // SAFETY: the event is live, and so is everything that belongs to it.
    unsafe {
        let result = sys::rd_kafka_event_DeleteAcls_result(event);
        if result.is_null() {
            return Err(task.no_answer("an answer to something else"));
        }
        let mut count = 0;
        let responses = sys::rd_kafka_DeleteAcls_result_responses(result, &mut count);
        for response in slice(responses, count) {
            task.check(sys::rd_kafka_DeleteAcls_result_response_error(*response))?;
            let mut count = 0;
            let acls =
                sys::rd_kafka_DeleteAcls_result_response_matching_acls(*response, &mut count);
            for acl in slice(acls, count) {
                task.check(sys::rd_kafka_AclBinding_error(*acl))?;
            }
        }
    }
    Ok(())
}

/// # Safety
///
/// `event` must be live.
unsafe fn described(task: &Task, event: *mut rd_kafka_event_t) -> Result<Vec<Found>, Error> {
    // SAFETY: the event is live, and so is everything that belongs to it.
    unsafe {
        let result = sys::rd_kafka_event_DescribeAcls_result(event);
        if result.is_null() {
            return Err(task.no_answer("an answer to something else"));
        }
        let mut count = 0;
        let acls = sys::rd_kafka_DescribeAcls_result_acls(result, &mut count);
        Ok(slice(acls, count).iter().map(|acl| found(*acl)).collect())
    }
}

/// # Safety
///
/// `acl` must be live.
unsafe fn found(acl: *const rd_kafka_AclBinding_t) -> Found {
    // SAFETY: it is live, and so are its texts. librdkafka has turned values that it does not know into ones that it does.
    let (resource, pattern, name, principal, host, operation, permission) = unsafe {
        (
            sys::rd_kafka_AclBinding_restype(acl),
            sys::rd_kafka_AclBinding_resource_pattern_type(acl),
            string(sys::rd_kafka_AclBinding_name(acl)),
            string(sys::rd_kafka_AclBinding_principal(acl)),
            string(sys::rd_kafka_AclBinding_host(acl)),
            sys::rd_kafka_AclBinding_operation(acl),
            sys::rd_kafka_AclBinding_permission_type(acl),
        )
    };
    let resource = match (resource, pattern) {
        (RD_KAFKA_RESOURCE_TOPIC, RD_KAFKA_RESOURCE_PATTERN_LITERAL) => Some(Resource::Topic(name)),
        (RD_KAFKA_RESOURCE_GROUP, RD_KAFKA_RESOURCE_PATTERN_PREFIXED) => {
            Some(Resource::Groups(name))
        }
        _ => None,
    };
    let operation = match operation {
        RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
        RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
        RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
        _ => None,
    };
    let plain = host == EVERY_HOST && permission == RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW;
    let acl = resource
        .zip(operation)
        .filter(|_| plain)
        .map(|(resource, operation)| Acl {
            principal: principal.clone(),
            resource,
            operation,
        });
    Found { principal, acl }
}
