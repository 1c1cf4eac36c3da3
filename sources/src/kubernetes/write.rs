//! Creates and changes objects of an API server.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams, Request};
use lagan_schemas::resource::Group;
use lagan_schemas::subject::ObjectKey;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Kubernetes, KubernetesError, answer, api_resource, value_of};

#[derive(Clone, Copy)]
enum Part {
    Object,
    Status,
}

impl Kubernetes {
    /// Applies a status. It fails if the object was replaced by another with the same name.
    pub async fn apply_status(
        &self,
        key: &ObjectKey,
        uid: Uuid,
        status: &Value,
        manager: &str,
    ) -> Result<(), KubernetesError> {
        let patch =
            json!({ "metadata": { "name": key.name, "namespace": key.namespace, "uid": uid }, "status": status });
        self.apply(key, patch, Part::Status, manager).await
    }

    /// Applies an object. `manager` then owns only the given fields.
    pub async fn apply_object(&self, key: &ObjectKey, object: Value, manager: &str) -> Result<(), KubernetesError> {
        self.apply(key, object, Part::Object, manager).await
    }

    async fn apply(&self, key: &ObjectKey, mut patch: Value, part: Part, manager: &str) -> Result<(), KubernetesError> {
        let Some(resource) = api_resource(Group::of(&format!("{}/", key.group)), key.kind) else { return Ok(()) };
        patch["apiVersion"] = resource.api_version.clone().into();
        patch["kind"] = resource.kind.clone().into();
        let api = self.api(&resource, key.namespace.as_deref());
        let params = PatchParams::apply(manager).force();
        let patch = Patch::Apply(&patch);
        match part {
            Part::Status => {
                answer("apply status of", &key.to_string(), api.patch_status(&key.name, &params, &patch)).await
            }
            Part::Object => answer("apply", &key.to_string(), api.patch(&key.name, &params, &patch)).await,
        }
        .map(drop)
    }

    /// Applies a merge patch, for example to finalizers or a field of the spec.
    pub async fn merge(&self, key: &ObjectKey, patch: &Value) -> Result<(), KubernetesError> {
        self.merged(key, patch, PatchParams::default()).await.map(drop)
    }

    /// Applies a merge patch as a field manager and returns the resulting object.
    pub async fn merge_as(&self, key: &ObjectKey, patch: &Value, manager: &str) -> Result<Value, KubernetesError> {
        self.merged(key, patch, PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }).await
    }

    async fn merged(&self, key: &ObjectKey, patch: &Value, params: PatchParams) -> Result<Value, KubernetesError> {
        let api = self.api_of(key).expect("only objects of known kinds are patched");
        let patched = answer("patch", &key.to_string(), api.patch(&key.name, &params, &Patch::Merge(patch))).await?;
        value_of(key, &patched)
    }

    /// Creates an object and returns the stored form.
    pub async fn create(&self, key: &ObjectKey, object: Value) -> Result<Value, KubernetesError> {
        self.created(key, object, PostParams::default()).await
    }

    /// Creates an object that a person asked for, as a field manager, and returns the stored form. Nothing is created if
    /// the API server does not know one of its fields: it would drop the field and keep the rest, and a restore that was to
    /// be tried would run.
    pub async fn create_as(&self, key: &ObjectKey, object: Value, manager: &str) -> Result<Value, KubernetesError> {
        let name = key.to_string();
        let resource = api_resource(Group::of(&format!("{}/", key.group)), key.kind).expect("the kind is known");
        let path = self.api(&resource, key.namespace.as_deref()).resource_url().to_owned();
        let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        let made = async {
            let body = serde_json::to_vec(&object).map_err(kube::Error::SerdeError)?;
            let mut request = Request::new(path).create(&params, body).map_err(kube::Error::BuildRequest)?;
            // kube has no parameter for this.
            let strict = format!("{}&fieldValidation=Strict", request.uri());
            *request.uri_mut() = strict.parse().expect("a URI with one more parameter is a URI");
            self.client.request::<DynamicObject>(request).await
        };
        value_of(key, &answer("create", &name, made).await?)
    }

    async fn created(&self, key: &ObjectKey, object: Value, params: PostParams) -> Result<Value, KubernetesError> {
        let shape = |source| KubernetesError::Shape { object: key.to_string(), source };
        let object: DynamicObject = serde_json::from_value(object).map_err(shape)?;
        let api = self.api_of(key).expect("only objects of known kinds are created");
        let made = answer("create", &key.to_string(), api.create(&params, &object)).await?;
        value_of(key, &made)
    }
}
