% What PALM's own functions say about the shuffles of inputs.py.
%
%   octave --no-gui witness.m FOLDER PALM [KIND …]
%
% FOLDER holds the files of inputs.py, PALM the functions named in README.md (not part of this repository).
% Writes maxima.tsv, p.tsv and clusters.tsv into FOLDER. Freedman and Lane (1983): residuals of the nuisance part
% are shuffled and the whole model is fitted again. Each tail is looked at alone, as PALM does without -twotail.

arguments = argv();
folder = arguments{1};
addpath(arguments{2});
kinds = {"surface", "cifti", "volume"};
if numel(arguments) > 2, kinds = arguments(3:end); end
pkg load image
warning("off", "all");

function plm = geometry_of(in)
  % The masks, areas and neighbours of each part, as PALM keeps them.
  plm.nmasks = numel(in.maps) + (numel(in.maps) == 1);  % of one mask alone PALM would take the first for all
  for y = 1:numel(in.maps)
    which = in.which{y};
    plm.Yisvol(y) = columns(which) == 3;
    plm.Yisvtx(y) = ! plm.Yisvol(y);
    plm.Yisfac(y) = false;
    if plm.Yisvol(y)
      mask = false(in.shape);
      mask(sub2ind(in.shape, which(:,1), which(:,2), which(:,3))) = true;
      plm.order{y} = order_of(in.shape, which);
    else
      mask = false(rows(in.points{y}), 1);
      mask(which) = true;
      plm.Yarea{y} = palm_calcarea(struct("vtx", in.points{y}, "fac", in.triangles{y}), true);
      plm.Yadjacency{y} = palm_adjacency(in.triangles{y}, true);
      plm.order{y} = (1:numel(which))';
    end
    plm.masks{y}.data = mask;
  end
end

function order = order_of(shape, which)
  % Octave runs through a volume with x fastest.
  [~, order] = sort(sub2ind(shape, which(:,1), which(:,2), which(:,3)));
end

function G = statistic_of(in, contrast, shuffle, y)
  % t of one part: Beckmann's partition, Freedman and Lane, PALM's t.
  C = in.contrasts(:, contrast);
  [X, Z, eC] = palm_partition(in.design, C, "Beckmann");
  Y = in.maps{y};
  nuisance = Z * pinv(Z) * Y;
  residuals = Y - nuisance;
  source = in.sources(shuffle, :, contrast);
  sign = in.signs(shuffle, :, contrast)';
  Yr = bsxfun(@times, sign, residuals(source, :)) + nuisance;
  M = [X Z];
  psi = pinv(M) * Yr;
  plm.tmp = struct("N", rows(M), "rM", rank(M), "eC", eC);
  G = palm_fastt(M, psi, Yr - M * psi, plm);
end

function o = options_of(is_volume, conn)
  o = struct("NPC", false, "MV", false, "npcmod", false, "forcemaskinter", false);
  o.tfce = struct("E", 1 - 0.5 * is_volume, "H", 2, "conn", conn, "deltah", 0);
end

function [row, maps, clusters] = measure(G, df2, in, plm, y)
  % Largest t, extent, mass (PALM's, then with area and above the threshold) and TFCE (26 and 6 neighbours).
  unit = 1;
  o = options_of(plm.Yisvol(y), 26);
  if plm.Yisvol(y), G = G(plm.order{y}); unit = in.voxel_volume; end
  Z = palm_gtoz(G, 1, df2);
  [size_, ~, sizes] = palm_clustere(Z, y, in.threshold, o, plm);
  mass = palm_clusterm(Z, y, in.threshold, o, plm);
  weight = unit;
  if plm.Yisvtx(y), weight = plm.Yarea{y}(plm.masks{y}.data)'; end
  [weighed, ~, masses] = palm_clusterm(max(Z - in.threshold, 0) .* weight, y, 1e-300, o, plm);
  tfce = palm_tfce(Z, y, o, plm) * unit^o.tfce.E;
  tfce6 = tfce;
  if plm.Yisvol(y), tfce6 = palm_tfce(Z, y, options_of(true, 6), plm) * unit^o.tfce.E; end
  row = [max(G), size_ * unit, mass, weighed, max(tfce), max(tfce6)];
  maps = {G, tfce};
  clusters = [sizes(:) * unit, masses(:)];
end

names = {"t", "size", "mass_palm", "mass", "tfce", "tfce6"};
of_maxima = fopen(fullfile(folder, "maxima.tsv"), "w");
of_p = fopen(fullfile(folder, "p.tsv"), "w");
of_clusters = fopen(fullfile(folder, "clusters.tsv"), "w");
fprintf(of_maxima, "data\tcontrast\tpart\tshuffle\tsign");
fprintf(of_maxima, "\t%s", names{:});
fprintf(of_maxima, "\n");
fprintf(of_p, "data\tcontrast\tpart\tmeasure");
fprintf(of_p, "\t%d", 1:10);
fprintf(of_p, "\n");
fprintf(of_clusters, "data\tcontrast\tpart\tsign\tsize\tmass\tp_size\tp_mass\n");

for kind = kinds
  in = load(fullfile(folder, [kind{1} ".mat"]));
  plm = geometry_of(in);
  is_voxels = plm.Yisvol;
  df2 = rows(in.design) - rank(in.design);
  n_shuffles = rows(in.sources);
  for contrast = 1:columns(in.contrasts)
    for part = unique(is_voxels)
      members = find(is_voxels == part);
      part_name = {"cortex", "subcortex"}{part + 1};
      if strcmp(kind{1}, "volume"), part_name = "volume"; end
      largest = zeros(n_shuffles, numel(names), 2);
      observed = {[], []};
      found = {zeros(0, 2), zeros(0, 2)};
      for shuffle = 1:n_shuffles
        for y = members
          G = statistic_of(in, contrast, shuffle, y);
          for tail = 1:2
            [row, maps, clusters] = measure((3 - 2 * tail) * G, df2, in, plm, y);
            largest(shuffle, :, tail) = max(largest(shuffle, :, tail), row);
            if shuffle == 1
              observed{1} = [observed{1}, maps{1}(:)'];
              observed{2} = [observed{2}, maps{2}(:)'];
              found{tail} = [found{tail}; clusters];
            end
          end
        end
        for tail = 1:2
          fprintf(of_maxima, "%s\t%s\t%s\t%d\t%d", kind{1}, in.names{contrast}, part_name, shuffle - 1, 3 - 2 * tail);
          fprintf(of_maxima, "\t%.8g", largest(shuffle, :, tail));
          fprintf(of_maxima, "\n");
        end
        fflush(of_maxima);
      end
      both = max(largest, [], 3);
      % two-sided: an element has its p in the tail it lies in
      for measure_ = {"t", "tfce"; 1, 5; 1, 2}
        p = palm_datapval(observed{measure_{3}}, both(:, measure_{2}), false);
        counts = arrayfun(@(k) sum(p <= (k + 0.5) / n_shuffles), 1:10);
        fprintf(of_p, "%s\t%s\t%s\t%s", kind{1}, in.names{contrast}, part_name, measure_{1});
        fprintf(of_p, "\t%d", counts);
        fprintf(of_p, "\n");
      end
      for tail = 1:2
        of_size = palm_datapval(found{tail}(:, 1), both(:, 2), false);
        of_mass = palm_datapval(found{tail}(:, 2), both(:, 4), false);
        for one = 1:rows(found{tail})
          if min(of_size(one), of_mass(one)) <= 0.5
            fprintf(of_clusters, "%s\t%s\t%s\t%d", kind{1}, in.names{contrast}, part_name, 3 - 2 * tail);
            fprintf(of_clusters, "\t%.8g", found{tail}(one, :), of_size(one), of_mass(one));
            fprintf(of_clusters, "\n");
          end
        end
      end
    end
  end
end
fclose(of_maxima); fclose(of_p); fclose(of_clusters);
