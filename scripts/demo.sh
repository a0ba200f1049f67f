#!/usr/bin/env bash
# The main job on synthetic chests, from nothing to a verdict: does the classifier look at the mass or at the letter?
# On radiographs a study with frozen networks (20 cells, two sources); on CT four small networks are fine-tuned.
#
#   bash scripts/demo.sh [--bundle xray_classification|ct_slice_classification|ct_volume_classification]
bundle=xray_classification
if [ "${1:-}" = --bundle ] && [ $# -eq 2 ]; then
    bundle=$2
elif [ $# -ne 0 ]; then
    echo "usage: bash scripts/demo.sh [--bundle NAME]" >&2
    exit 2
fi
case $bundle in
xray_classification) ;;
ct_slice_classification)
    settings=(--confounder denoise)
    ;;
ct_volume_classification)
    # ImageNet's weights become 3D: each 2D kernel is the middle slice of a 3D one.
    settings=(--confounder denoise --network efficientnet_lite0 --image_size 32)
    ;;
*)
    echo "--bundle: got $bundle, expected xray_classification, ct_slice_classification or ct_volume_classification" >&2
    exit 2
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" demo
if [ "$bundle" = xray_classification ]; then
    chests=mlruns/demo/chests
    [ -e "$chests/cases.csv" ] || .venv/bin/srcmatters cohorts phantom "$chests" --difficulty 0.2 --seed 1
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} .venv/bin/srcmatters study run \
        bundles/xray_classification/studies/demo.yaml --dataset_dir "$chests"
else
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
    results=mlruns/outputs/demo-$bundle
    for p_art in 0 1; do
        for source in imagenet random; do
            .venv/bin/python -m monai.bundle run training --config_file "bundles/$bundle/configs/train.yaml" \
                --source "$source" "${settings[@]}" --p_art "$p_art" --max_epochs 12 \
                --experiment_name "demo-$bundle" --output_dir "$results/$source-p$p_art"
        done
    done
    .venv/bin/srcmatters results "$results"
fi
cat <<'EOM'

i.i.d.: the confounder goes with the disease, as in training. o.o.d.: it goes with the healthy. A classifier that
looks at the disease has the same AUC in both; one that reads the confounder loses in the second. What does not
know the target in the first place loses nothing, and that is no merit.
Look at the runs:  MLFLOW_DISABLE_TELEMETRY=true .venv/bin/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db
then open http://127.0.0.1:5000
EOM
