package main

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"sigs.k8s.io/yaml"
)

// What an API server knows of a kind by its CustomResourceDefinition.
type customKind struct {
	strategy rest.RESTCreateStrategy
	schema   *structural.Structural
}

// Reads CustomResourceDefinitions, one in each file.
func customKinds(files []string) (map[schema.GroupVersionKind]customKind, error) {
	kinds := map[schema.GroupVersionKind]customKind{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		definition := apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, &definition); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, version := range definition.Spec.Versions {
			kind := schema.GroupVersionKind{
				Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind}
			namespaced := definition.Spec.Scope == apiextensionsv1.NamespaceScoped
			if kinds[kind], err = customKindOf(kind, namespaced, version.Schema); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return kinds, nil
}

func customKindOf(kind schema.GroupVersionKind, namespaced bool,
	given *apiextensionsv1.CustomResourceValidation) (customKind, error) {
	internal := apiextensions.CustomResourceValidation{}
	err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(
		given, &internal, nil)
	if err != nil {
		return customKind{}, err
	}
	fields, err := structural.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return customKind{}, err
	}
	validator, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return customKind{}, err
	}
	strategy := customresource.NewStrategy(
		legacyscheme.Scheme, namespaced, kind, validator, nil, fields, nil, nil, nil)
	return customKind{strategy, fields}, nil
}

// Reads an object of the kind, and no fields that it does not have.
func (known customKind) decode(document []byte) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
		return nil, err
	}
	unknown := pruning.PruneWithOptions(object.DeepCopy().Object, known.schema, true,
		structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return nil, fmt.Errorf("has fields that its kind does not: %s", strings.Join(unknown, ", "))
	}
	return object, nil
}
