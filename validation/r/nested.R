# The numbers of nested.csv and nested_variances.csv: R's answers to questions about visits of people of families.
#   Rscript nested.R         (Debian: r-base-core r-cran-lme4 r-cran-lmertest r-cran-pbkrtest)
# families.csv holds 15 families of one to four people (two groups, age) with one to three visits, and elements
# y1…y9: families and people that differ (y1; y2 by far more than visits), families or people alone (y3, y4), neither
# (y5), missing values (y6, y9), families hardly (y7), far from zero (y8). Numbers are multiples of 1/1024.
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest)})
visits <- read.csv("families.csv", stringsAsFactors = TRUE)
visits$patient <- as.numeric(visits$group == "patient")
exact <- lmerControl(optimizer = "bobyqa", calc.derivs = TRUE, check.conv.singular = "ignore",
                     optCtrl = list(rhobeg = 0.02, rhoend = 1e-12, maxfun = 1e5))
single <- list(mean = c(1, 0, 6, 40, 0), group = c(0, 1, 0, 0, 0), month = c(0, 0, 1, 0, 0.5),
               age = c(0, 0, 0, 1, 0), "group:month" = c(0, 0, 0, 0, 1))
joint <- rbind(c(0, 1, 0, 0, 0), c(0, 0, 0, 0, 1))
answers <- list(); variances <- list()
keep <- function(...) answers[[length(answers) + 1]] <<- data.frame(...)
for (element in 1:9) {
  visits$y <- visits[[paste0("y", element)]]
  fit <- lmer(y ~ patient * month + age + (1 | family/person), visits, control = exact)
  fit <- as_lmerModLmerTest(fit)
  for (ddf in c("Satterthwaite", "Kenward-Roger")) for (name in names(single)) {
    one <- contest1D(fit, single[[name]], ddf = ddf)
    keep(element, ddf, contrast = name, effect = one$Estimate, se = one[["Std. Error"]],
         statistic = one[["t value"]], df = one$df, p = one[["Pr(>|t|)"]])
  }
  both <- KRmodcomp(fit, joint)$stats
  keep(element, ddf = "Kenward-Roger", contrast = "joint", effect = NA, se = NA,
       statistic = both$Fstat, df = both$ddf, p = both$p.value)
  found <- as.data.frame(VarCorr(fit))
  of <- function(name) found$vcov[found$grp == name]
  variances[[length(variances) + 1]] <- data.frame(
    element, family = of("family"), person = of("person:family"), residual = sigma(fit)^2,
    deviance = REMLcrit(fit))
}
answers <- do.call(rbind, answers); variances <- do.call(rbind, variances)
for (column in c("effect", "se", "statistic", "df", "p")) answers[[column]] <- signif(answers[[column]], 11)
for (column in names(variances)[-1]) variances[[column]] <- signif(variances[[column]], 11)
write.csv(answers, "nested.csv", row.names = FALSE, quote = TRUE, na = "")
write.csv(variances, "nested_variances.csv", row.names = FALSE, quote = TRUE, na = "")
