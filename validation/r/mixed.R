# The numbers of mixed.csv and mixed_variances.csv: R's answers to questions about several rows per person.
#   Rscript mixed.R         (Debian: r-base-core r-cran-lme4 r-cran-lmertest r-cran-pbkrtest)
# visits.csv holds 26 people (two groups, age) with one to four visits at uneven months, and elements y1…y9:
# intraclass correlation 0.5 (y1), 0.95 (y2), 0 at the boundary (y3), missing values (y4; y5 at the boundary),
# far from zero (y6), people who differ in slope (y7, y8 with missing values), in slope hardly (y9).
# Numbers are multiples of 1/1024: the same in float32.
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest)})
visits <- read.csv("visits.csv", stringsAsFactors = TRUE)
visits$patient <- as.numeric(visits$group == "patient")
exact <- lmerControl(optimizer = "bobyqa", calc.derivs = TRUE, check.conv.singular = "ignore",
                     optCtrl = list(rhobeg = 0.02, rhoend = 1e-12, maxfun = 1e5))
random <- c(intercept = "(1 | person)", slope = "(1 + month | person)", apart = "(1 + month || person)",
            alone = "(0 + month | person)")
single <- list(mean = c(1, 0, 6, 40, 0), group = c(0, 1, 0, 0, 0), month = c(0, 0, 1, 0, 0.5),
               age = c(0, 0, 0, 1, 0), "group:month" = c(0, 0, 0, 0, 1))
joint <- rbind(c(0, 1, 0, 0, 0), c(0, 0, 0, 0, 1))
answers <- list(); variances <- list()
keep <- function(...) answers[[length(answers) + 1]] <<- data.frame(...)
for (model in names(random)) for (element in 1:9) {
  visits$y <- visits[[paste0("y", element)]]
  fit <- lmer(as.formula(paste("y ~ patient * month + age +", random[[model]])), visits, control = exact)
  fit <- as_lmerModLmerTest(fit)
  for (ddf in c("Satterthwaite", "Kenward-Roger")) for (name in names(single)) {
    one <- contest1D(fit, single[[name]], ddf = ddf)
    keep(model, element, ddf, contrast = name, effect = one$Estimate, se = one[["Std. Error"]],
         statistic = one[["t value"]], df = one$df, p = one[["Pr(>|t|)"]])
  }
  both <- KRmodcomp(fit, joint)$stats
  keep(model, element, ddf = "Kenward-Roger", contrast = "joint", effect = NA, se = NA,
       statistic = both$Fstat, df = both$ddf, p = both$p.value)
  found <- as.data.frame(VarCorr(fit))
  of <- function(a, b = NA) sum(found$vcov[found$grp != "Residual" & found$var1 %in% a & found$var2 %in% b])
  variances[[length(variances) + 1]] <- data.frame(
    model, element, intercept = of("(Intercept)"), slope = of("month"), covariance = of("(Intercept)", "month"),
    residual = sigma(fit)^2, deviance = REMLcrit(fit))
}
answers <- do.call(rbind, answers); variances <- do.call(rbind, variances)
for (column in c("effect", "se", "statistic", "df", "p")) answers[[column]] <- signif(answers[[column]], 11)
for (column in names(variances)[-(1:2)]) variances[[column]] <- signif(variances[[column]], 11)
write.csv(answers, "mixed.csv", row.names = FALSE, quote = TRUE, na = "")
write.csv(variances, "mixed_variances.csv", row.names = FALSE, quote = TRUE, na = "")
