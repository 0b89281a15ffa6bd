% Processor time of PALM's TFCE, extent and mass of one map, in seconds (benchmarks/surfaces.py --palm).
%
%   octave --no-gui timing.m FILE PALM
%
% FILE holds z of each hemisphere, vertices and triangles. Of |z|, once, as with -twotail; the least of three rounds.

arguments = argv();
in = load(arguments{1});
addpath(arguments{2});
plm = struct("nmasks", 1, "Yisvol", false, "Yisvtx", true, "Yisfac", false);
plm.masks{1}.data = true(rows(in.points), 1);
plm.Yarea{1} = palm_calcarea(struct("vtx", in.points, "fac", in.triangles), true);
plm.Yadjacency{1} = palm_adjacency(in.triangles, true);
o = struct("NPC", false, "MV", false, "npcmod", false, "forcemaskinter", false);
o.tfce = struct("E", 1, "H", 2, "conn", 26, "deltah", 0);
least = zeros(1, rows(in.z));
for hemisphere = 1:rows(in.z)
  Z = abs(in.z(hemisphere, :));
  times = zeros(1, 3);
  for round = 1:3
    start = cputime();
    palm_tfce(Z, 1, o, plm);
    palm_clustere(Z, 1, in.threshold, o, plm);
    palm_clusterm(Z, 1, in.threshold, o, plm);
    times(round) = cputime() - start;
  end
  least(hemisphere) = min(times);
end
printf("%.4f\n", sum(least));
