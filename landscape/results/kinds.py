"""The words by which stored results name their kinds, where the class of each lives today, and what
it was once called.

A stored result names its class by a word of its own, so that a class may move: only the second
column changes then.
"""

# kind: (the module that has its class, the name that version 0.1.0 stored in its place, if it did)
KINDS: dict[str, tuple[str, str]] = {
    "analysis-layer": ("landscape.points.analyze", "landscape.analysis.Layer"),
    "analysis-polish": ("landscape.points.analyze", "landscape.analysis.Polish"),
    "analysis-report": ("landscape.points.analyze", "landscape.analysis.AnalysisReport"),
    "analysis-slice": ("landscape.points.analyze", "landscape.analysis.Slice"),
    "bounded": ("landscape.results.estimate", ""),
    "census": ("landscape.inventory.census", "landscape.stationary.census.Census"),
    "census-picture": ("landscape.inventory.views", "landscape.stationary.picture.Picture"),
    "check": ("landscape.points.checks", "landscape.checks.Check"),
    "check-status": ("landscape.points.checks", "landscape.checks.Status"),
    "comparison": ("landscape.optimizers.studies", "landscape.dynamics.studies.Comparison"),
    "comparison-series": ("landscape.optimizers.studies", "landscape.dynamics.studies.Series"),
    "complexity-by-energy": (
        "landscape.inventory.energies",
        "landscape.stationary.energies.Complexity",
    ),
    "connection": ("landscape.paths.connect", "landscape.surfaces.connect.Connection"),
    "counts-theory": ("landscape.inventory.counting", "landscape.stationary.counting.TheoryLine"),
    "curve-profile": ("landscape.paths.curves", "landscape.surfaces.curves.Profile"),
    "diagnosis": ("landscape.training.diagnose", "landscape.dynamics.diagnose.Diagnosis"),
    "diagnosis-cause": ("landscape.training.rules", "landscape.dynamics.diagnose.Cause"),
    "diagnosis-report": (
        "landscape.training.diagnose",
        "landscape.dynamics.reports.DiagnosisReport",
    ),
    "dimension-counts": (
        "landscape.inventory.counting",
        "landscape.stationary.counting.DimensionCounts",
    ),
    "disconnectivity-tree": (
        "landscape.inventory.views",
        "landscape.stationary.disconnectivity.Tree",
    ),
    "edge-run": ("landscape.optimizers.edge", "landscape.dynamics.edge.EdgeRun"),
    "edge-study": ("landscape.optimizers.edge", "landscape.dynamics.edge.EdgeStudy"),
    "eigenpairs": ("landscape.linalg.lanczos", "landscape.linalg.lanczos.Eigenpairs"),
    "eigsh-certificate": ("landscape.linalg.lanczos", "landscape.linalg.lanczos.Certificate"),
    "eigsh-stop": ("landscape.linalg.lanczos", "landscape.linalg.lanczos.Stop"),
    "energy-path": ("landscape.paths.minimum_energy", "landscape.stationary.paths.EnergyPath"),
    "escape-study": ("landscape.optimizers.escape", "landscape.dynamics.escape.Study"),
    "escape-sweep": ("landscape.optimizers.sweeps", "landscape.dynamics.sweeps.Sweep"),
    "escape-theory": ("landscape.optimizers.predictions", "landscape.dynamics.predictions.Theory"),
    "escapes": ("landscape.optimizers.escape", "landscape.dynamics.escape.Escapes"),
    "estimate": ("landscape.results.estimate", "landscape.results.Estimate"),
    "exit-prediction": ("landscape.theory.predict", "landscape.theory.predict.Prediction"),
    "expected-counts": (
        "landscape.inventory.families",
        "landscape.stationary.families.ExpectedCounts",
    ),
    "falls-below": ("landscape.optimizers.escape", "landscape.dynamics.escape.FallsBelow"),
    "file-report": ("landscape.files.formats", "landscape.files.FileReport"),
    "found-point": ("landscape.points.find", "landscape.stationary.search.FoundPoint"),
    "gallery-exhibit": ("landscape.gallery", "landscape.gallery.Exhibit"),
    "gallery-match": ("landscape.gallery", "landscape.gallery.Match"),
    "index-by-energy": (
        "landscape.inventory.energies",
        "landscape.stationary.energies.IndexByEnergy",
    ),
    "leaves-ball": ("landscape.optimizers.escape", "landscape.dynamics.escape.LeavesBall"),
    "loss-law": ("landscape.inventory.widths", "landscape.stationary.widths.LossLaw"),
    "minres-solution": ("landscape.linalg.minres", "landscape.linalg.minres.Solution"),
    "minres-stop": ("landscape.linalg.minres", "landscape.linalg.minres.Stop"),
    "network-census": (
        "landscape.inventory.networks",
        "landscape.stationary.networks.NetworkCensus",
    ),
    "noise-exit": ("landscape.theory.noise", "landscape.theory.noise.NoiseExit"),
    "optimizer-room": ("landscape.points.room", ""),
    "path-stop": ("landscape.paths.minimum_energy", "landscape.stationary.paths.Stop"),
    "picture-check": ("landscape.surfaces.result", "landscape.surfaces.checking.PictureCheck"),
    "probe": ("landscape.training.probes", "landscape.dynamics.probes.Probe"),
    "probes": ("landscape.training.probes", "landscape.dynamics.probes.Probes"),
    "provenance": ("landscape.results.base", "landscape.results.Provenance"),
    "pspin-thresholds": ("landscape.theory.pspin", "landscape.theory.pspin.PspinThresholds"),
    "recorded-paths": ("landscape.optimizers.recording", "landscape.dynamics.paths.Paths"),
    "recorded-plane": ("landscape.optimizers.recording", "landscape.dynamics.paths.Plane"),
    "saddle-counts": ("landscape.inventory.counting", "landscape.stationary.counting.SaddleCounts"),
    "schedules": ("landscape.optimizers.schedules", "landscape.dynamics.schedules.Schedules"),
    "search-outcome": ("landscape.points.walk", "landscape.stationary.walk.Outcome"),
    "search-report": ("landscape.points.reports", "landscape.stationary.reports.SearchReport"),
    "spectral-density": (
        "landscape.linalg.quadrature",
        "landscape.linalg.quadrature.SpectralDensity",
    ),
    "spectrum": ("landscape.points.analyze", "landscape.analysis.Spectrum"),
    "stationary-point": (
        "landscape.points.classify",
        "landscape.stationary.classify.StationaryPoint",
    ),
    "surface": ("landscape.surfaces.result", "landscape.surfaces.grids.Surface"),
    "surface-walk": ("landscape.surfaces.walks", "landscape.surfaces.walks.Walk"),
    "tensor-entry": ("landscape.files.formats", "landscape.files.TensorEntry"),
    "trace": ("landscape.training.trace", "landscape.dynamics.trace.Trace"),
    "trace-phase": ("landscape.training.trace", "landscape.dynamics.trace.Phase"),
    "tree-edge": ("landscape.inventory.views", "landscape.stationary.disconnectivity.Edge"),
    "tree-merge": ("landscape.inventory.views", "landscape.stationary.disconnectivity.Merge"),
    "width-counts": ("landscape.inventory.widths", "landscape.stationary.widths.WidthCounts"),
    "width-study": ("landscape.inventory.widths", "landscape.stationary.widths.WidthStudy"),
}

FORMER = {former: kind for kind, (_, former) in KINDS.items() if former}
