// Takes rendered objects from standard input as an API server would take them when they are made:
// read without fields that it does not know, given its defaults, validated by its own strategies,
// and every pod held against the restricted Pod Security Standard by its admission controller.
// Objects of custom kinds are held against the CustomResourceDefinitions in the files that are named.
// Warnings count as errors.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	documents "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

var strategies = map[string]rest.RESTCreateStrategy{
	"ConfigMap":           configmap.Strategy,
	"NetworkPolicy":       networkpolicy.Strategy,
	"Pod":                 pod.Strategy,
	"PodDisruptionBudget": poddisruptionbudget.Strategy,
	"Service":             service.Strategy,
	"ServiceAccount":      serviceaccount.Strategy,
	"StatefulSet":         statefulset.Strategy,
}

var restricted = api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}

func main() {
	objects, pods := 0, 0
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	var custom map[schema.GroupVersionKind]customKind
	if err == nil {
		custom, err = customKinds(os.Args[1:])
	}
	for reader := documents.NewYAMLReader(bufio.NewReader(os.Stdin)); err == nil; {
		var document []byte
		if document, err = reader.Read(); err != nil {
			break
		}
		objects++
		var isPod bool
		isPod, err = admit(document, custom, evaluator)
		if isPod {
			pods++
		}
	}
	if errors.Is(err, io.EOF) && pods > 0 {
		fmt.Printf("ok: %d objects are taken, %d pods of them restricted\n", objects, pods)
		return
	}
	fmt.Fprintln(os.Stderr, "FAILED:", err)
	os.Exit(1)
}

func admit(document []byte, custom map[schema.GroupVersionKind]customKind,
	evaluator policy.Evaluator) (isPod bool, err error) {
	meant := metav1.TypeMeta{}
	if err := yaml.Unmarshal(document, &meant); err != nil {
		return false, err
	}
	if known, is := custom[meant.GroupVersionKind()]; is {
		object, err := known.decode(document)
		if err == nil {
			err = create(known.strategy, object)
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", meant.Kind, err)
		}
		return false, nil
	}
	scheme := legacyscheme.Scheme
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme,
		json.SerializerOptions{Yaml: true, Strict: true})
	object, kind, err := decoder.Decode(document, nil, nil)
	if err != nil {
		return false, err
	}
	scheme.Default(object)
	strategy, known := strategies[kind.Kind]
	if !known {
		return false, fmt.Errorf("%s: has no strategy here yet", kind.Kind)
	}
	internal, err := scheme.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return false, err
	}
	if service, is := internal.(*core.Service); is {
		giveAddress(&service.Spec)
	}
	if err := create(strategy, internal); err != nil {
		return false, fmt.Errorf("%s: %w", kind.Kind, err)
	}
	var meta *metav1.ObjectMeta
	var spec *corev1.PodSpec
	switch object := object.(type) {
	case *corev1.Pod:
		meta, spec = &object.ObjectMeta, &object.Spec
	case *appsv1.StatefulSet:
		meta, spec = &object.Spec.Template.ObjectMeta, &object.Spec.Template.Spec
	default:
		return false, nil
	}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, meta, spec))
	if !result.Allowed {
		return true, fmt.Errorf("%s: %s", kind.Kind, result.ForbiddenDetail())
	}
	return true, nil
}

func create(strategy rest.RESTCreateStrategy, object runtime.Object) error {
	ctx := context.Background()
	strategy.PrepareForCreate(ctx, object)
	if mistakes := strategy.Validate(ctx, object); len(mistakes) > 0 {
		return mistakes.ToAggregate()
	}
	if warnings := strategy.WarningsOnCreate(ctx, object); len(warnings) > 0 {
		return fmt.Errorf("%v", warnings)
	}
	return nil
}

// A server gives a service its address before it validates it.
func giveAddress(spec *core.ServiceSpec) {
	if spec.ClusterIP == "" {
		spec.ClusterIP = "10.96.0.10"
	}
	single := core.IPFamilyPolicySingleStack
	spec.ClusterIPs = []string{spec.ClusterIP}
	spec.IPFamilies, spec.IPFamilyPolicy = []core.IPFamily{core.IPv4Protocol}, &single
}
